"""rest/openapi.py: the document is valid, has every route, and every answer has the form that it promises."""

import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import TypeAdapter

from appliance.ipc.rows import LaneState, ShardState
from appliance.rest.docs_page import NAMES
from appliance.rest.models import Problem
from appliance.rest.openapi import document
from appliance.rest.operation import Operation
from appliance.rest.routes import ROUTES
from tests.support import api_changes
from tests.support.api_answers import Client, json_of
from tests.support.gateway import SERVICES, SESSION, UDP_SESSION, FakeGateway, remember
from tests.support.traced import BATCH

DOCUMENT = document(ROUTES, NAMES)
OPERATIONS = [(route.path, asked) for route in ROUTES for asked in route.operations]
with_json = pytest.mark.parametrize(
    ("path", "asked"),
    [(path, asked) for path, asked in OPERATIONS if "application/json" in asked.media],
    ids=lambda value: value if isinstance(value, str) else value.method,
)
URLS = {
    "/sysctl/{name}": "/sysctl/udp_timeout",
    "/host/sysctl/{name}": "/host/sysctl/tcp_fin_timeout",
    "/stats/ext/{name}": "/stats/ext/synproxy_ok_ack",
    "/stats/ip_vs_ext_stats/{name}": "/stats/ip_vs_ext_stats/synproxy_ok_ack",
    "/conns": "/conns?all=1",
    **api_changes.URLS,
    "/trace": "/trace?client=198.51.100.2",
    "/services/{name}/real_servers/{endpoint}/drain": "/services/web/real_servers/192.0.2.101:8080/drain",
}
BODIES = {("PUT", "/sysctl/{name}"): b"300000", ("PUT", "/host/sysctl/{name}"): b"30", **api_changes.BODIES}


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_operation_is_in_it() -> None:
    described = {
        (path, method.upper())
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in ("get", "put", "delete", "post", "patch")
    }
    assert described == {(path, asked.method) for path, asked in OPERATIONS}


def test_names_of_operations_are_unique() -> None:
    names = Counter(
        operation["operationId"]
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        if "operationId" in operation
    )
    assert set(names.values()) == {1}


@with_json
def test_every_answer_as_json_has_a_model(path: str, asked: Operation) -> None:
    assert asked.answer is not None, f"{asked.method} {path}: name the type of its answer (rest/models.py)"


def test_every_body_has_a_model() -> None:
    assert all((asked.body_model is not None) == bool(asked.body) for _, asked in OPERATIONS)


async def answer_of(client: Client, path: str, asked: Operation) -> Any:
    url = URLS.get(path, path) if asked.method != "GET" else URLS.get(path, path).partition("?")[0]
    assert "{" not in url, f"{path}: give it a URL here"
    body = BODIES[asked.method, path] if asked.body else None
    response = await client.request(asked.method, url, data=body, headers={"Accept": "application/json"})
    assert response.status == 200
    return json.loads(await response.text())


@with_json
async def test_every_answer_has_the_form_of_its_model(client: Client, gateway: FakeGateway, path: str, asked: Operation) -> None:
    gateway.sessions.batches = [[SESSION, UDP_SESSION]]
    gateway.sessions.counts = Counter({"198.51.100.2": 3})
    gateway.conntrack = {"count": 1, "max": 2}
    gateway.traces.batches = [BATCH]
    web = replace(SERVICES[0], persistence_s=300)
    gateway.services = (web, *SERVICES[1:])
    remember(gateway.shared, web, "198.51.100.2", 0, int(time.monotonic() * 1000), 3_600_000)
    if path == "/config/confirm":
        await client.post("/config/apply?confirm_within_s=60", data=api_changes.BODIES["POST", "/config/apply"])
    answer = await answer_of(client, path, asked)
    assert answer, "an empty answer would have the form of any list"
    TypeAdapter(asked.answer).validate_python(answer)


@pytest.mark.parametrize("state", ["down", "impaired", "off"])
async def test_bad_health_has_the_form_too(client: Client, gateway: FakeGateway, state: str) -> None:
    gateway.states = [ShardState(0, state != "down", None if state == "down" else 1, 3, 2.5)]
    gateway.problems = ["the rules are gone"] if state == "impaired" else []
    gateway.lane = gateway.lane._replace(lane=LaneState("off", "no kernel"), counts=[])
    response = await client.get("/healthz", headers={"Accept": "application/json"})
    assert response.status == (200 if state == "off" else 503)
    [asked] = [asked for path, asked in OPERATIONS if path == "/healthz"]
    TypeAdapter(asked.answer).validate_python(json.loads(await response.text()))
    lane = next(asked for path, asked in OPERATIONS if path == "/stats/lane")
    TypeAdapter(lane.answer).validate_python(await json_of(client, "/stats/lane"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/sysctl/udp_timeout", 422), ("GET", "/nothing", 404), ("DELETE", "/sysctl", 405), ("GET", "/conns?x=1", 400)],
)
async def test_refusals_have_the_form_of_a_problem(client: Client, method: str, path: str, status: int) -> None:
    response = await client.request(method, path, data=b"0")
    assert Problem.model_validate_json(await response.text()).status == response.status == status


async def test_it_is_served(client: Client) -> None:
    assert await json_of(client, "/openapi.json") == json.loads(json.dumps(DOCUMENT))
