"""rest/routes.py: the description of each route is complete, and the API does what it says."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import pytest

from appliance.ipc.queries import ShardDownError
from appliance.rest.operation import COMMON_QUERY, COMMON_REFUSALS, Operation, Refusal, Route
from appliance.rest.routes import ROUTES, operation, query_names
from appliance.rest.session_routes import TOP_LINES_MAX
from tests.support.api_answers import Client, problem_of
from tests.support.gateway import SESSION, FakeGateway, remember

OPERATIONS = [(asked, route.path) for route in ROUTES for asked in route.operations]
each_operation = pytest.mark.parametrize(
    ("asked", "path"), OPERATIONS, ids=[f"{asked.method} {path}" for asked, path in OPERATIONS]
)

NAMES = {
    "/sysctl/{name}": "tcp_timeout_close",
    "/stats/ext/{name}": "synproxy_ok_ack",
    "/host/sysctl/{name}": "tcp_fin_timeout",
    "/stats/ip_vs_ext_stats/{name}": "synproxy_ok_ack",
    "/docs/{name}": "start.js",
    "/services/{name}/real_servers/{real_server}/drain": "web",
}
BODIES = {("PUT", "/sysctl/{name}"): b"5000", ("PUT", "/host/sysctl/{name}"): b"30"}
QUERIES = {("DELETE", "/conns"): {"all": "1"}}


def url(path: str) -> str:
    return path.replace("{name}", NAMES.get(path, "")).replace("{real_server}", "192.0.2.101:8080")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_each_route_has_a_summary_and_each_method_once(route: Route) -> None:
    assert route.summary
    assert route.methods
    assert len(set(route.methods)) == len(route.methods)


@each_operation
def test_each_operation_is_described(asked: Operation, path: str) -> None:
    assert operation(asked.method, path) is asked
    assert asked.answers.endswith(".")
    assert asked.text
    assert asked.json
    assert bool(asked.body) == (asked.method == "PUT")
    assert len(set(query_names(asked))) == len(query_names(asked))
    for parameter in (*asked.query, *COMMON_QUERY):
        assert all(parameter), f"{parameter.name} is not described"
    for refusal in (*asked.refusals, *COMMON_REFUSALS):
        assert refusal.status >= 400
        assert refusal.reason


def test_an_unknown_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        operation("PUT", "/conns")


@pytest.mark.parametrize(
    ("asked", "path"), [(asked, path) for asked, path in OPERATIONS if "application/json" in asked.media and "`" in asked.json]
)
async def test_an_answer_has_the_members_that_are_said_of_it(
    client: Client, gateway: FakeGateway, asked: Operation, path: str
) -> None:
    gateway.sessions.batches, gateway.conntrack = [[SESSION]], {"count": 3}
    gateway.sessions.counts["198.51.100.2"] = 1
    gateway.services = tuple(replace(service, persistence_s=300) for service in gateway.services)
    remember(gateway.shared, gateway.services[0], "198.51.100.2", 0, int(time.monotonic() * 1000), 300_000)
    gateway.events.add("drained", "web", "192.0.2.101:8080", "its last session is gone")
    response = await client.request(
        asked.method,
        url(path),
        params=QUERIES.get((asked.method, path), {}) | {"format": "json"},
        data=BODIES.get((asked.method, path)),
    )
    assert response.status == 200
    answer = json.dumps(json.loads(await response.text()))
    members = set(re.findall("`([a-zA-Z_]+)`", asked.json)) - {"by"}
    assert members
    assert {member for member in members if f'"{member}":' not in answer} == set()


@pytest.mark.parametrize(("method", "path"), [("GET", "/conns"), ("DELETE", "/conns"), ("GET", "/conns/top")])
async def test_a_field_that_is_not_listed_is_refused_with_the_list(client: Client, method: str, path: str) -> None:
    problem = await problem_of(await client.request(method, path, params={"colour": "red"}), 400)
    assert f"(there are {', '.join(query_names(operation(method, path)))})" in problem["detail"]


def a_worker_is_down(gateway: FakeGateway) -> None:
    gateway.sessions.error = ShardDownError("the worker of shard 1 is away")


def nothing(_: FakeGateway) -> None:
    pass


DRAIN = "/services/{name}/real_servers/{real_server}/drain"
Prepare = Callable[[FakeGateway], None]

REFUSED: list[tuple[str, str, str, bytes | None, Mapping[str, str], Prepare, Refusal]] = [
    (method, path, sent, body, headers, prepare, operation(method, path).refusals[place])
    for method, path, sent, body, headers, prepare, place in [
        ("GET", "/sysctl/{name}", "/sysctl/nothing", None, {}, nothing, 0),
        ("PUT", "/sysctl/{name}", "/sysctl/udp_timeout", b"{", {}, nothing, 0),
        ("PUT", "/sysctl/{name}", "/sysctl/udp_timeout", b"5000", {"Content-Encoding": "gzip"}, nothing, 0),
        ("PUT", "/sysctl/{name}", "/sysctl/nothing", b"5000", {}, nothing, 1),
        ("PUT", "/sysctl/{name}", "/sysctl/udp_timeout", b" " * 5000, {}, nothing, 2),
        ("PUT", "/sysctl/{name}", "/sysctl/udp_timeout", b"999", {}, nothing, 3),
        ("GET", "/stats/ext/{name}", "/stats/ext/nothing", None, {}, nothing, 0),
        ("GET", "/stats/slabinfo", "/stats/slabinfo", None, {}, a_worker_is_down, 0),
        ("GET", "/stats/sockstat", "/stats/sockstat", None, {}, a_worker_is_down, 0),
        ("GET", "/conns", "/conns?limit=0", None, {}, nothing, 0),
        ("GET", "/conns", "/conns?limit=1", None, {}, a_worker_is_down, 1),
        ("DELETE", "/conns", "/conns", None, {}, nothing, 0),
        ("GET", "/conns/top", "/conns/top?n=0", None, {}, nothing, 0),
        ("GET", "/conns/top", "/conns/top", None, {}, a_worker_is_down, 1),
        ("GET", "/docs/{name}", "/docs/nothing", None, {}, nothing, 0),
        ("GET", "/host/sysctl/{name}", "/host/sysctl/nothing", None, {}, nothing, 0),
        ("PUT", "/host/sysctl/{name}", "/host/sysctl/tcp_fin_timeout", b"{", {}, nothing, 0),
        ("PUT", "/host/sysctl/{name}", "/host/sysctl/nothing", b"30", {}, nothing, 1),
        ("PUT", "/host/sysctl/{name}", "/host/sysctl/tcp_fin_timeout", b" " * 5000, {}, nothing, 2),
        ("PUT", "/host/sysctl/{name}", "/host/sysctl/tcp_fin_timeout", b"0", {}, nothing, 3),
        ("GET", "/stats/ip_vs_ext_stats/{name}", "/stats/ip_vs_ext_stats/nothing", None, {}, nothing, 0),
        ("GET", "/persistence", "/persistence?limit=0", None, {}, nothing, 0),
        ("GET", DRAIN, "/services/web/real_servers/192.0.2.9:1/drain", None, {}, nothing, 0),
        ("POST", DRAIN, "/services/nothing/real_servers/192.0.2.101:8080/drain", None, {}, nothing, 0),
        ("POST", DRAIN, "/services/web/real_servers/192.0.2.101:8080/drain?deadline_s=-1", None, {}, nothing, 1),
        ("DELETE", DRAIN, "/services/web/real_servers/192.0.2.9:1/drain", None, {}, nothing, 0),
        ("GET", "/events", "/events?since=x", None, {}, nothing, 0),
    ]
]


@pytest.mark.parametrize(
    ("method", "sent", "body", "headers", "prepare", "refusal"), [(method, *rest) for method, _, *rest in REFUSED]
)
async def test_a_refusal_that_is_listed_happens(
    client: Client,
    gateway: FakeGateway,
    method: str,
    sent: str,
    body: bytes | None,
    headers: Mapping[str, str],
    prepare: Prepare,
    refusal: Refusal,
) -> None:
    prepare(gateway)
    problem = await problem_of(await client.request(method, sent, data=body, headers=headers), refusal.status)
    assert problem["type"] == refusal.type


def test_every_refusal_that_is_listed_has_a_case() -> None:
    tried = {(method, path, refusal) for method, path, _, _, _, _, refusal in REFUSED}
    assert tried == {(asked.method, path, refusal) for asked, path in OPERATIONS for refusal in asked.refusals}


SENT = {
    "client": "198.51.100.2",
    "service": "web",
    "real_server": "192.0.2.101:8080",
    "state": "CLOSE",
    "limit": "5",
    "after": f"0-0-7-{'00' * 12}",
    "all": "1",
    "by": "service",
    "n": str(TOP_LINES_MAX),
    "format": "json",
    "since": "0",
    "wait_s": "0",
    "deadline_s": "0",
}
"""A good value of each field."""

FIELDS = [(asked, path, name) for asked, path in OPERATIONS for name in query_names(asked)]
each_field = pytest.mark.parametrize(
    ("asked", "path", "name"), FIELDS, ids=[f"{asked.method} {path} {name}" for asked, path, name in FIELDS]
)

ABSURD = (
    "",
    " ",
    "\t",
    "0",
    "-1",
    "9" * 5000,
    "x" * 5000,
    "\0",
    "\n",
    "'",
    "%",
    "é",
    "٣",
    "\U0001f600",
    "1,2",
    "[]",
    "{}",
    "a=b&c",
)


async def status_of(client: Client, asked: Operation, path: str, query: list[tuple[str, str]]) -> int:
    """The status of an answer, which is 200 or that of a problem document."""
    response = await client.request(asked.method, url(path), params=query, data=BODIES.get((asked.method, path)))
    if response.status != 200:
        await problem_of(response, response.status)
    await response.read()
    return response.status


@pytest.fixture
def gateway_with_a_session(gateway: FakeGateway) -> FakeGateway:
    gateway.sessions.batches = [[SESSION]]
    return gateway


@pytest.mark.usefixtures("gateway_with_a_session")
@each_field
async def test_every_field_takes_its_good_value(client: Client, asked: Operation, path: str, name: str) -> None:
    more = [] if name == "all" else list(QUERIES.get((asked.method, path), {}).items())
    assert await status_of(client, asked, path, [(name, SENT[name]), *more]) == 200


@each_field
async def test_an_empty_field_is_refused(
    client: Client, gateway_with_a_session: FakeGateway, asked: Operation, path: str, name: str
) -> None:
    """Except `after`: an empty place is the beginning, so that a script may begin with one."""
    expected = 200 if name == "after" else 400
    assert await status_of(client, asked, path, [(name, "")]) == expected
    assert bool(gateway_with_a_session.sessions.asked) == (name == "after")


@each_field
async def test_of_a_repeated_field_the_first_counts(
    client: Client, gateway_with_a_session: FakeGateway, asked: Operation, path: str, name: str
) -> None:
    more = [] if name == "all" else list(QUERIES.get((asked.method, path), {}).items())
    assert await status_of(client, asked, path, [(name, SENT[name]), (name, "?"), *more]) == 200
    in_force = gateway_with_a_session.sessions.asked
    if name != "after":  # the gateway is the judge of places, and this one takes them all
        assert await status_of(client, asked, path, [(name, "?"), (name, SENT[name]), *more]) == 400
    assert gateway_with_a_session.sessions.asked == in_force


@each_field
async def test_an_absurd_value_is_refused_and_reaches_no_worker(
    client: Client, gateway_with_a_session: FakeGateway, asked: Operation, path: str, name: str
) -> None:
    if name == "after":
        return
    for value in set(ABSURD) - {SENT[name]}:
        assert await status_of(client, asked, path, [(name, value)]) == 400, value
    assert gateway_with_a_session.sessions.asked == ()


@pytest.mark.parametrize(("path", "query"), list(product(["/conns", "/conns/top"], ["?=", "?=x", "?=&n=1"])))
async def test_a_field_without_a_name_is_unknown(client: Client, path: str, query: str) -> None:
    problem = await problem_of(await client.get(path + query), 400)
    assert problem["detail"].startswith("field: there is no ''")
