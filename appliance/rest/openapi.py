"""The OpenAPI 3.1 document of the API, made from the routes and the models. Pure.

The schemas of pydantic are those of JSON Schema 2020-12, as OpenAPI 3.1 has them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from appliance import __version__
from appliance.rest.accept_header import JSON, TEXT
from appliance.rest.models import Problem
from appliance.rest.operation import COMMON_QUERY, COMMON_REFUSALS, Operation, Parameter, Refusal, Route
from appliance.rest.problem import PROBLEM

_REF = "#/components/schemas/{model}"
_SCHEME = "token"
_IN_PATH = re.compile(r"\{(\w+)\}")
_DESCRIPTION = """\
The API of a layer-4 gateway. Every answer is there as text and as JSON, from the same URL; refusals are problem documents
(RFC 9457) for clients that accept them.
"""

Schema = dict[str, Any]


class _Schemas:
    """The schemas of models; the named ones stand in one place of the document."""

    def __init__(self, models: Iterable[Any]) -> None:
        adapters = {id(model): TypeAdapter(model) for model in models}
        inputs = [(key, "validation", adapter) for key, adapter in adapters.items()]
        found, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REF)  # type: ignore[arg-type]
        self._by_model = {key: schema for (key, _), schema in found.items()}
        self.named: Schema = definitions.get("$defs", {})

    def of(self, model: Any) -> Schema:
        """The schema of a model; any JSON when there is none."""
        return {} if model is None else self._by_model[id(model)]


def document(routes: Sequence[Route], names: Mapping[str, Sequence[str]]) -> Schema:
    """The document. `names` has the values of the name at the end of a path, by the path, as far as they are known."""
    operations = [asked for route in routes for asked in route.operations]
    models = {id(model): model for asked in operations for model in (asked.answer, asked.body_model) if model is not None}
    schemas = _Schemas([*models.values(), Problem])
    paths = {route.path: _path(route, schemas, names.get(route.path, ())) for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {"title": "The admin API of the appliance", "version": __version__, "description": _DESCRIPTION},
        "security": [{}, {_SCHEME: []}],
        "paths": paths,
        "components": {
            "schemas": schemas.named,
            "securitySchemes": {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `api.tokens_file`. It is needed on addresses beyond loopback.",
                }
            },
        },
    }


def _path(route: Route, schemas: _Schemas, names: Sequence[str]) -> Schema:
    item: Schema = {"summary": route.summary}
    if in_path := _IN_PATH.findall(route.path):
        schema = {"type": "string", "enum": list(names)} if names else {"type": "string", "minLength": 1}
        item["parameters"] = [{"name": name, "in": "path", "required": True, "schema": schema} for name in in_path]
    return item | {asked.method.lower(): _operation(route, asked, schemas) for asked in route.operations}


def _operation(route: Route, asked: Operation, schemas: _Schemas) -> Schema:
    path = f"{route.path}index" if route.path.endswith("/") else route.path  # "/ui" and "/ui/" are two
    words = ["routes"] if path == "/index" else re.findall(r"\w+", path)
    described: Schema = {
        "operationId": "_".join([asked.method.lower(), *words]),
        "summary": route.summary,
        "description": asked.answers,
        "parameters": [_parameter(field) for field in (*asked.query, *COMMON_QUERY)],
        "responses": _responses(asked, schemas),
    }
    if not asked.needs_token:
        described["security"] = [{}]
    if asked.body:
        described["requestBody"] = {
            "required": not asked.body_is_optional,
            "description": asked.body,
            "content": {
                media: {"schema": schemas.of(asked.body_model) if media == JSON else {"type": "string", "minLength": 1}}
                for media in asked.body_media
            },
        }
    return described


def _parameter(field: Parameter) -> Schema:
    return {
        "name": field.name,
        "in": "query",
        "required": field.is_required,
        "description": f"{field.meaning}. Allowed: {field.allowed}. Without it: {field.default}.",
        "schema": dict(field.schema),
    }


def _responses(asked: Operation, schemas: _Schemas) -> Schema:
    answer = {media: {"schema": schemas.of(asked.answer) if media == JSON else {"type": "string"}} for media in asked.media}
    responses: Schema = {"200": {"description": asked.json if JSON in asked.media else asked.text, "content": answer}}
    refusals = sorted((*asked.refusals, *COMMON_REFUSALS), key=lambda refusal: refusal.status.value)
    for status, of_status in groupby(refusals, key=lambda refusal: refusal.status):
        responses[str(status.value)] = _refused(list(of_status), schemas)
        if status in asked.also_answers:
            responses[str(status.value)]["content"] |= answer
    return responses


def _refused(refusals: Sequence[Refusal], schemas: _Schemas) -> Schema:
    reasons = "; or ".join(dict.fromkeys(refusal.reason for refusal in refusals))
    content = {PROBLEM: {"schema": schemas.of(Problem)}, TEXT: {"schema": {"type": "string"}}}
    return {"description": reasons, "content": content}
