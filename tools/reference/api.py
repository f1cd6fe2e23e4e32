"""The page of all routes of the admin API."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus

from appliance.rest.operation import COMMON_QUERY, COMMON_REFUSALS, Operation, Parameter, Refusal, Route
from appliance.rest.routes import ROUTES
from tools.reference.markdown import Entry, code, item, paragraph, sentence, table
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
The appliance serves this API on the addresses of `api.listen` in [the configuration file](configuration.md); by default on
`127.0.0.1:9380` and on the socket `/run/appliance/api.sock`. On addresses beyond loopback it needs a token
([how to lock it](../how-to/lock-the-api.md)). [How to use the API](../how-to/api.md) has examples.
"""
_COMMON = "Every answer is there as text and as JSON, from the same URL. These fields of the query string hold for every route:"
_PROBLEMS = """\
A request that is refused is answered with one line of text; or with a problem document (RFC 9457), when the client asks for
JSON or accepts `application/problem+json`. These refusals are possible on every route; those of one route stand with it:
"""


def entries() -> list[Entry]:
    """All routes and all their operations, each operation as `METHOD /path`."""
    routes = [Entry(route.path, route.summary) for route in ROUTES]
    return routes + [Entry(f"{operation.method} {route.path}", operation.answers) for route, operation in _operations()]


def page() -> str:
    """The page."""
    overview = table(("route", "methods"), ((code(route.path), ", ".join(route.methods)) for route in ROUTES))
    common = (paragraph(_COMMON), _parameters(COMMON_QUERY), paragraph(_PROBLEMS), _refusals(COMMON_REFUSALS))
    sections = (block for route in ROUTES for block in _section(route))
    return whole_page("The admin API", paragraph(_INTRODUCTION), overview, "## What holds for every route", *common, *sections)


def _operations() -> Iterable[tuple[Route, Operation]]:
    return ((route, operation) for route in ROUTES for operation in route.operations)


def _section(route: Route) -> Iterable[str]:
    yield f"## {code(route.path)}"
    yield paragraph(sentence(route.summary))
    for operation in route.operations:
        yield f"### {code(f'{operation.method} {route.path}')}"
        yield paragraph(operation.answers)
        yield "\n".join(item(line) for line in _forms(operation))
        if operation.query:
            yield "Query fields:"
            yield _parameters(operation.query)
        if operation.refusals:
            yield "Refused with:"
            yield _refusals(operation.refusals)


def _forms(operation: Operation) -> Iterable[str]:
    if operation.body:
        yield f"Body: {operation.body}."
    yield f"Text: {operation.text}."
    yield f"JSON: {operation.json}."


def _parameters(parameters: Sequence[Parameter]) -> str:
    return "\n".join(
        item(f"{code(one.name)}: {one.meaning}. Allowed: {one.allowed}. Without it: {one.default}.") for one in parameters
    )


def _refusals(refusals: Sequence[Refusal]) -> str:
    return "\n".join(item(f"{_status(one.status)}{_type(one)}: {one.reason}.") for one in refusals)


def _status(status: HTTPStatus) -> str:
    return f"{status.value} {status.phrase}"


def _type(refusal: Refusal) -> str:
    return f", type {code(refusal.type)}" if refusal.kind else ""
