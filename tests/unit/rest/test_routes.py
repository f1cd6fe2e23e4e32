"""rest/routes.py: the description of each route is complete, and the API does what it says."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product

import pytest

from appliance.config.edits import edited
from appliance.ipc.queries import ShardDownError
from appliance.ipc.traced import Change
from appliance.model.edit import MERGE, SERVICE, Edit, Subject
from appliance.rest.config_routes import LONGEST_CONFIG_BYTES
from appliance.rest.operation import COMMON_QUERY, COMMON_REFUSALS, Operation, Refusal, Route
from appliance.rest.routes import ROUTES, operation, query_names
from appliance.rest.service_routes import LONGEST_TABLE_BYTES, ONE
from appliance.rest.session_routes import TOP_LINES_MAX
from tests.support import api_changes
from tests.support.api_answers import Client, problem_of
from tests.support.gateway import SESSION, FakeGateway, remember
from tests.support.traced import BATCH

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
    "/ui/{name}": "app.mjs",
    "/services/{name}/real_servers/{endpoint}/drain": "web",
}
BODIES = {("PUT", "/sysctl/{name}"): b"5000", ("PUT", "/host/sysctl/{name}"): b"30", **api_changes.BODIES}
QUERIES = {("DELETE", "/conns"): {"all": "1"}, ("POST", "/trace"): {"client": "198.51.100.2"}}


def url(path: str) -> str:
    return api_changes.URLS.get(path) or path.replace("{name}", NAMES.get(path, "")).replace("{endpoint}", "192.0.2.101:8080")


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
    assert bool(asked.body) == (
        asked.method in ("PUT", "PATCH", "POST") and path not in ("/config/confirm", "/config/save", DRAIN, "/trace")
    )
    assert len(set(query_names(asked))) == len(query_names(asked))
    for parameter in (*asked.query, *COMMON_QUERY):
        assert all(parameter._replace(is_required=True)), f"{parameter.name} is not described"
    for refusal in (*asked.refusals, *COMMON_REFUSALS):
        assert refusal.status >= 400
        assert refusal.reason


def test_an_unknown_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        operation("PUT", "/conns")


async def a_change_waits(client: Client) -> None:
    """As from now on, a change waits for its confirmation."""
    await client.post("/config/apply", params={"confirm_within_s": 60}, data=api_changes.BODIES["POST", "/config/apply"])


@pytest.mark.parametrize(
    ("asked", "path"), [(asked, path) for asked, path in OPERATIONS if "application/json" in asked.media and "`" in asked.json]
)
async def test_an_answer_has_the_members_that_are_said_of_it(
    client: Client, gateway: FakeGateway, asked: Operation, path: str
) -> None:
    gateway.sessions.batches, gateway.conntrack = [[SESSION]], {"count": 3}
    gateway.sessions.counts["198.51.100.2"] = 1
    gateway.traces.batches = [BATCH._replace(changes=[Change(1.0, {})])]
    gateway.services = tuple(replace(service, persistence_s=300) for service in gateway.services)
    remember(gateway.shared, gateway.services[0], "198.51.100.2", 0, int(time.monotonic() * 1000), 300_000)
    gateway.events.add("drained", "web", "192.0.2.101:8080", "its last session is gone")
    if path == "/config/confirm":
        await a_change_waits(client)
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


DRAIN = "/services/{name}/real_servers/{endpoint}/drain"
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
        ("GET", "/stats/consistency", "/stats/consistency", None, {}, a_worker_is_down, 0),
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
        ("POST", "/trace", "/trace", None, {}, nothing, 0),
        ("GET", "/ui/{name}", "/ui/nothing", None, {}, nothing, 0),
        ("GET", "/samples", "/samples?offset=x", None, {}, nothing, 0),
    ]
]


def a_change_is_unconfirmed(gateway: FakeGateway) -> None:
    gateway.configuration.confirmation.expect(gateway.configuration.in_force, 60)


def it_is_refused(gateway: FakeGateway) -> None:
    gateway.configuration.refuses = "service web: port: 80 -> 81 needs a restart"


WITH_COMMAND = b'{"vip": "203.0.113.10", "port": 80, "health_check": {"type": "command", "command": ["/bin/sh"]}}'
SERVER_WITH_COMMAND = b'{"health_check": {"type": "command", "command": ["/bin/sh"]}}'
NEW_WITH_COMMAND = WITH_COMMAND.replace(b'{"vip": "203.0.113.10"', b'{"name": "new", "vip": "203.0.113.81"')
NEW_SERVER_WITH_COMMAND = b'{"address": "192.0.2.103", "port": 80,' + SERVER_WITH_COMMAND[1:]
TEXT_WITH_COMMAND = api_changes.SHIPPED.replace(
    "[[service.real_server]]", '[service.health_check]\ntype = "command"\ncommand = ["/bin/sh"]\n[[service.real_server]]', 1
).encode()
OTHER_STATE, NO_ETAG = {"If-Match": '"0"'}, {"If-Match": "0"}
NOT_THERE, NO_STAR, BOTH = {"If-None-Match": "*"}, {"If-None-Match": '"0"'}, {"If-None-Match": "*", "If-Match": "*"}

Tried = tuple[str, str, bytes | None, Mapping[str, str], Prepare, int, str]


def tried_changes() -> Iterator[Tried]:
    """Method, path, body, headers, state, and the status and the kind of the refusal."""
    for (method, path), body in api_changes.BODIES.items():
        most = LONGEST_CONFIG_BYTES if path.startswith("/config") else LONGEST_TABLE_BYTES
        yield method, path, body, {"Content-Encoding": "gzip"}, nothing, 400, ""
        yield method, path, b" " * (most + 1), {}, nothing, 413, ""
        yield method, path, b'{"port": 0}' if path != "/pools/{name}" else b'{"addresses": [3]}', {}, nothing, 422, "bad-config"
        if path != "/config/plan":
            yield method, path, body, {}, it_is_refused, 409, "needs-restart"
            yield method, path, body, {}, a_change_is_unconfirmed, 409, "unconfirmed"
            if method != "POST" or path == "/config/apply":
                yield method, path, body, OTHER_STATE, nothing, 412, "changed-meanwhile"
                yield method, path, body, NOT_THERE, nothing, 412, "changed-meanwhile"
    for path in ONE:
        yield "DELETE", path, None, {}, it_is_refused, 409, "needs-restart"
        yield "DELETE", path, None, {}, a_change_is_unconfirmed, 409, "unconfirmed"
        yield "DELETE", path, None, OTHER_STATE, nothing, 412, "changed-meanwhile"
        for headers in (NO_ETAG, NO_STAR, BOTH):
            yield "DELETE", path, None, headers, nothing, 400, ""
    yield "POST", "/config/confirm", None, {}, nothing, 409, "nothing-to-confirm"
    yield "DELETE", "/services/{name}", None, {}, it_has_mistakes, 422, "bad-config"
    yield "DELETE", "/services/{name}/real_servers/{endpoint}", None, {}, it_has_mistakes, 422, "bad-config"
    yield "DELETE", "/pools/{name}", None, {}, it_has_mistakes, 422, "bad-config"
    for method, path, body in (
        ("POST", "/config/plan", TEXT_WITH_COMMAND),
        ("POST", "/config/apply", TEXT_WITH_COMMAND),
        ("POST", "/services", NEW_WITH_COMMAND),
        ("PUT", "/services/{name}", WITH_COMMAND),
        ("PATCH", "/services/{name}", SERVER_WITH_COMMAND),
        ("POST", "/services/{name}/real_servers", NEW_SERVER_WITH_COMMAND),
        ("PUT", "/services/{name}/real_servers/{endpoint}", SERVER_WITH_COMMAND),
        ("PATCH", "/services/{name}/real_servers/{endpoint}", SERVER_WITH_COMMAND),
    ):
        yield method, path, body, {}, nothing, 422, "command-refused"


def it_has_mistakes(gateway: FakeGateway) -> None:
    """As no configuration that was put in force has."""
    running = gateway.configuration.in_force
    web, _ = running.services
    twins = (web.model_copy(update={"name": name}) for name in ("left", "right"))
    gateway.configuration.in_force = running.model_copy(update={"services": (web, *twins)})


def tried_names() -> Iterator[tuple[str, str, str, bytes | None]]:
    """Requests about what is not there."""
    for method in ("GET", "DELETE", "PATCH"):
        body = b"{}" if method == "PATCH" else None
        yield method, "/services/{name}", "/services/%2e%2e%2fetc", body
        yield method, "/services/{name}/real_servers/{endpoint}", "/services/web/real_servers/192.0.2.9:80", body
    yield "GET", "/pools/{name}", "/pools/default2", None
    yield "DELETE", "/pools/{name}", "/pools/default2", None
    yield "PUT", "/services/{name}/real_servers/{endpoint}", "/services/no/real_servers/192.0.2.9:80", b"{}"
    yield "GET", "/services/{name}/real_servers", "/services/no/real_servers", None
    yield "POST", "/services/{name}/real_servers", "/services/no/real_servers", b'{"address": "192.0.2.9", "port": 80}'


def refusal_of(method: str, path: str, status: int, kind: str) -> Refusal:
    [found] = [one for one in operation(method, path).refusals if one.status == status and one.kind == kind]
    return found


REFUSED += [
    (method, path, url(path), body, headers, prepare, refusal_of(method, path, status, kind))
    for method, path, body, headers, prepare, status, kind in tried_changes()
]
REFUSED += [
    (method, path, sent, body, {}, nothing, refusal_of(method, path, 404, "unknown-name"))
    for method, path, sent, body in tried_names()
]


def the_file_is_read_only(gateway: FakeGateway) -> None:
    running = gateway.configuration.in_force
    gateway.configuration.in_force = edited(running, Edit(MERGE, Subject(SERVICE, "web"), {"scheduler": "wlc"}))
    gateway.configuration.is_read_only = True


def the_file_was_changed(gateway: FakeGateway) -> None:
    gateway.configuration.text = api_changes.SHIPPED.replace("weight = 100", "weight = 7")


def the_file_has_mistakes(gateway: FakeGateway) -> None:
    gateway.configuration.text = "["


REFUSED += [
    ("POST", "/config/save", "/config/save", None, {}, prepare, refusal_of("POST", "/config/save", status, kind))
    for prepare, status, kind in (
        (the_file_is_read_only, 409, "not-writable"),
        (the_file_was_changed, 409, "file-changed"),
        (the_file_has_mistakes, 422, "bad-config"),
        (a_change_is_unconfirmed, 409, "unconfirmed"),
    )
]
REFUSED += [
    (
        "POST",
        "/config/save",
        "/config/save?only_show=0",
        None,
        {},
        nothing,
        refusal_of("POST", "/config/save", 400, "bad-query"),
    ),
    (
        "POST",
        "/config/apply",
        "/config/apply?confirm_within_s=0",
        b"",
        {},
        nothing,
        refusal_of("POST", "/config/apply", 400, "bad-query"),
    ),
    (
        "POST",
        "/services",
        "/services",
        b'{"name": "web", "vip": "203.0.113.80", "port": 80}',
        {},
        nothing,
        refusal_of("POST", "/services", 409, "already-there"),
    ),
    (
        "POST",
        "/services/{name}/real_servers",
        "/services/web/real_servers",
        b'{"address": "192.0.2.101", "port": 8080}',
        {},
        nothing,
        refusal_of("POST", "/services/{name}/real_servers", 409, "already-there"),
    ),
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
    data = io.BytesIO(body) if body else None  # the client does not like many bytes in one piece
    problem = await problem_of(await client.request(method, sent, data=data, headers=headers), refusal.status)
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
    "confirm_within_s": "60",
    "since": "0",
    "wait_s": "0",
    "deadline_s": "0",
    "only_show": "1",
    "port": "80",
    "count": "1",
    "seconds": "1",
    "snap_bytes": "80",
    "match": "0",
    "offset": "0",
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
    if path == "/config/confirm":
        await a_change_waits(client)
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
    more = [(other, value) for other, value in QUERIES.get((asked.method, path), {}).items() if other != name]
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
async def test_a_repeated_field_is_refused_and_reaches_no_worker(
    client: Client, gateway_with_a_session: FakeGateway, asked: Operation, path: str, name: str
) -> None:
    more = [] if name == "all" else list(QUERIES.get((asked.method, path), {}).items())
    assert await status_of(client, asked, path, [(name, SENT[name]), (name, SENT[name]), *more]) == 400
    assert not gateway_with_a_session.sessions.asked


@each_field
async def test_an_absurd_value_is_refused_and_reaches_no_worker(
    client: Client, gateway_with_a_session: FakeGateway, asked: Operation, path: str, name: str
) -> None:
    if name == "after":
        return
    may_be_in_a_name = {"-1"} if name == "match" else set()
    for value in set(ABSURD) - {SENT[name]} - may_be_in_a_name:
        assert await status_of(client, asked, path, [(name, value)]) == 400, value
    assert gateway_with_a_session.sessions.asked == ()


@pytest.mark.parametrize(("path", "query"), list(product(["/conns", "/conns/top"], ["?=", "?=x", "?=&n=1"])))
async def test_a_field_without_a_name_is_unknown(client: Client, path: str, query: str) -> None:
    problem = await problem_of(await client.get(path + query), 400)
    assert problem["detail"].startswith("field: there is no ''")
