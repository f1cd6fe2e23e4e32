"""api.py: every route in both forms, and the refusals that all routes share."""

import re

import pytest

from appliance.ipc.rows import ShardState
from appliance.rest.routes import ROUTES as ALL_ROUTES
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

ESTABLISHED = "/sysctl/tcp_timeout_established"
PLAIN_ROUTES = (
    "/",
    "/healthz",
    "/health",
    "/stats/attack",
    "/stats/attack",
    "/sysctl",
    ESTABLISHED,
    "/stats/ext",
    "/stats/ext/synproxy_ok_ack",
    "/stats/ip_vs",
    "/stats/ip_vs_stats",
    "/stats/ip_vs_conn",
    "/stats/drops",
    "/stats/queues",
    "/stats/lane",
    "/stats/slabinfo",
    "/stats/consistency",
    "/stats/sockstat",
    "/stats/conntrack",
    "/conns",
    "/conns/top",
    "/stats/persistence",
    "/persistence",
    "/doctor",
    "/host/sysctl",
    "/host/sysctl/tcp_fin_timeout",
    "/stats/ip_vs_ext_stats",
    "/stats/ip_vs_ext_stats/synproxy_ok_ack",
    "/config",
    "/services",
    "/services/web",
    "/services/web/real_servers",
    "/services/web/real_servers/192.0.2.101:8080",
    "/pools",
    "/pools/spare",
    "/services/web/real_servers/192.0.2.101:8080/drain",
    "/events",
    "/samples",
)

ROUTES = (*PLAIN_ROUTES, "/metrics")
"""With those whose text has a type of its own."""


@pytest.mark.parametrize("path", PLAIN_ROUTES)
async def test_every_view_comes_as_text_and_as_json_and_is_never_cached(client: Client, path: str) -> None:
    assert (await text_of(client, path)).endswith("\n")
    await json_of(client, path)
    for query, content_type in (("json", "application/json"), ("text", "text/plain")):
        other = "text/plain" if query == "json" else "application/json"
        response = await client.get(path, params={"format": query}, headers={"Accept": other})
        assert (response.status, response.content_type) == (200, content_type)
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ROUTES)
async def test_head_has_the_headers_of_get_and_no_body(client: Client, path: str) -> None:
    response = await client.head(path)
    assert (response.status, response.content_type) == (200, "text/plain")
    assert await response.read() == b""


@pytest.mark.parametrize("path", ["/sysctl", "/stats/ip_vs_conn", "/healthz"])
async def test_unknown_format_is_a_problem(client: Client, path: str) -> None:
    problem = await problem_of(await client.get(path, params={"format": "xml"}), 400)
    assert "'xml'" in problem["detail"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("query", ["nobody=1", "format=", "=", "by=", "all=", "client="])
async def test_every_route_refuses_fields_that_are_unknown_or_empty(client: Client, path: str, query: str) -> None:
    problem = await problem_of(await client.get(f"{path}?{query}"), 400)
    assert problem["type"].endswith(":bad-query")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_every_operation_refuses_a_field_that_is_given_twice(client: Client, method: str) -> None:
    asked = [
        route.path.format(name="web", endpoint="192.0.2.101:8080")
        for route in ALL_ROUTES
        if any(operation.method in (method, "GET" if method == "HEAD" else method) for operation in route.operations)
    ]
    assert asked
    for path in asked:
        response = await client.request(method, f"{path}?format=text&format=text")
        assert response.status == 400, path
        if method != "HEAD":
            problem = await problem_of(response, 400)
            assert problem["detail"] == "format: it is given more than once"


async def test_a_write_with_a_mistake_in_its_query_changes_nothing(client: Client) -> None:
    await problem_of(await client.put(f"{ESTABLISHED}?foramt=json", data="600000"), 400)
    assert await text_of(client, ESTABLISHED) == "900000\n"


async def test_index_lists_every_route(client: Client) -> None:
    listed = {entry["path"] for entry in await json_of(client, "/")}
    listed -= {"/openapi.json", "/docs", "/docs/{name}", "/ui", "/ui/", "/ui/{name}"}  # these are no views
    names = "tcp_timeout_established|synproxy_ok_ack|tcp_fin_timeout"
    assert listed == {re.sub(names, "{name}", path) for path in ROUTES if not path.startswith(("/services/", "/pools/"))} | {
        "/config/plan", "/config/apply", "/config/confirm", "/config/save", "/services/{name}", "/services/{name}/real_servers",
        "/services/{name}/real_servers/{endpoint}", "/pools/{name}", "/services/{name}/real_servers/{endpoint}/drain", "/trace",
    }  # fmt: skip


async def test_health_is_bad_when_a_shard_is_down(client: Client, gateway: FakeGateway) -> None:
    assert await text_of(client, "/healthz") == "ok\n"
    gateway.states = [ShardState(0, True, 100, 1), ShardState(1, False, None, 3)]
    response = await client.get("/healthz")
    assert (response.status, await response.text()) == (503, "shard1 is down (started 3 times)\n")
    response = await client.get("/healthz", params={"format": "json"})
    assert (response.status, (await response.json())["status"]) == (503, "down")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("/stats/ex", "/stats/ext"), ("/sysctls", "/sysctl"), ("/sysctl/", "/sysctl"), ("/helthz", "/healthz")],
)
async def test_unknown_path_names_the_nearest_route(client: Client, path: str, nearest: str) -> None:
    problem = await problem_of(await client.get(path), 404)
    assert problem["nearest"] == nearest
    assert nearest in problem["detail"]


async def test_unknown_path_like_no_other(client: Client) -> None:
    problem = await problem_of(await client.get("/" + 4000 * "q"), 404)
    assert problem["nearest"] is None
    assert len(problem["detail"]) < 150


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", ESTABLISHED, "GET,HEAD,PUT"), ("DELETE", ESTABLISHED, "GET,HEAD,PUT"), ("PUT", "/stats/ext", "GET,HEAD")],
)
async def test_wrong_method_names_the_right_ones(client: Client, method: str, path: str, allowed: str) -> None:
    response = await client.request(method, path)
    problem = await problem_of(response, 405)
    assert response.headers["Allow"] == allowed
    assert problem["allowed"] == allowed.split(",")


REFUSED = [("GET", "/sysctl/nothing", 404), ("GET", "/nothing", 404), ("POST", "/sysctl", 405), ("GET", "/conns?by=1", 400)]


@pytest.mark.parametrize(("method", "path", "status"), [*REFUSED, ("PUT", ESTABLISHED, 422)])
async def test_a_client_of_text_is_refused_in_text(client: Client, method: str, path: str, status: int) -> None:
    response = await client.request(method, path, data=b"1", headers={"Accept": "*/*"})
    problem = await problem_of(await client.request(method, path, data=b"1"), status)
    assert (response.status, response.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert await response.text() == problem["detail"] + "\n"


@pytest.mark.parametrize("headers", [{"Accept": "application/json"}, {"Accept": "text/plain, application/problem+json"}])
async def test_a_client_of_json_or_of_problems_is_refused_with_a_document(client: Client, headers: dict[str, str]) -> None:
    await problem_of(await client.get("/sysctl/nothing", headers=headers), 404)
    await problem_of(await client.get("/sysctl/nothing", params={"format": "json"}, headers={"Accept": "*/*"}), 404)
