"""api.py: every route in both forms, every refusal, and writes that either hold or change nothing."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.api import make_app, serve
from appliance.ipc.rows import ShardState
from appliance.model.counters import EXT_COUNTERS
from appliance.model.tunables import TUNABLES
from tests.support.gateway import SESSION, FakeGateway

Client = test_utils.TestClient[web.Request, web.Application]

ESTABLISHED = "/sysctl/tcp_timeout_established"
PLAIN_ROUTES = (
    "/",
    "/healthz",
    "/sysctl",
    ESTABLISHED,
    "/stats/ext",
    "/stats/ext/synproxy_ok_ack",
    "/stats/ip_vs",
    "/stats/ip_vs_stats",
    "/stats/ip_vs_conn",
    "/stats/drops",
    "/stats/queues",
    "/stats/slabinfo",
    "/stats/sockstat",
    "/stats/conntrack",
    "/conns",
    "/conns/top",
)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[Client]:
    async with test_utils.TestClient(test_utils.TestServer(make_app(gateway))) as client:
        yield client


async def text_of(client: Client, path: str, accept: str = "*/*") -> str:
    response = await client.get(path, headers={"Accept": accept})
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    return await response.text()


async def json_of(client: Client, path: str) -> Any:
    response = await client.get(path, headers={"Accept": "application/json"})
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(await response.text())


async def problem_of(response: aiohttp.ClientResponse, status: int) -> Any:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    problem = json.loads(await response.text())
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    return problem


@pytest.mark.parametrize("path", PLAIN_ROUTES)
async def test_every_view_comes_as_text_and_as_json_and_is_never_cached(client: Client, path: str) -> None:
    assert (await text_of(client, path)).endswith("\n")
    await json_of(client, path)
    for query, content_type in (("json", "application/json"), ("text", "text/plain")):
        other = "text/plain" if query == "json" else "application/json"
        response = await client.get(path, params={"format": query}, headers={"Accept": other})
        assert (response.status, response.content_type) == (200, content_type)
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PLAIN_ROUTES)
async def test_head_has_the_headers_of_get_and_no_body(client: Client, path: str) -> None:
    response = await client.head(path)
    assert (response.status, response.content_type) == (200, "text/plain")
    assert await response.read() == b""


@pytest.mark.parametrize("path", ["/sysctl", "/stats/ip_vs_conn", "/healthz"])
async def test_unknown_format_is_a_problem(client: Client, path: str) -> None:
    problem = await problem_of(await client.get(path, params={"format": "xml"}), 400)
    assert "'xml'" in problem["detail"]


async def test_index_lists_every_route(client: Client) -> None:
    listed = {entry["path"] for entry in await json_of(client, "/")}
    assert listed == {
        path.replace("tcp_timeout_established", "{name}").replace("synproxy_ok_ack", "{name}") for path in PLAIN_ROUTES
    }


async def test_sysctl_lists_them_all(client: Client) -> None:
    assert list(await json_of(client, "/sysctl")) == list(TUNABLES)
    assert len((await text_of(client, "/sysctl")).splitlines()) == 1 + len(TUNABLES)


async def test_sysctl_value_is_scriptable(client: Client) -> None:
    assert await text_of(client, ESTABLISHED) == "900000\n"
    assert (await json_of(client, ESTABLISHED))["max"] == 1_800_000


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"600000", "application/x-www-form-urlencoded"),
        (b" 600000\n", "text/plain"),
        (b'{"value": 600000}', "application/json"),
        (b'{"value": 600000}', "application/x-www-form-urlencoded"),
        (b'\n{"name": "tcp_timeout_established", "value": 600000, "default": 900000}', "application/json"),
        (b"600000", "application/json"),
    ],
)
async def test_put_takes_digits_and_json_and_answers_the_value_in_force(
    client: Client, gateway: FakeGateway, body: bytes, content_type: str
) -> None:
    response = await client.put(ESTABLISHED, data=body, headers={"Content-Type": content_type})
    assert (response.status, await response.text()) == (200, "600000\n")
    assert gateway.shared.tunable("tcp_timeout_established") == 600_000
    assert await text_of(client, ESTABLISHED) == "600000\n"


async def test_put_answers_json_when_asked(client: Client) -> None:
    response = await client.put(ESTABLISHED, json={"value": 600_000}, headers={"Accept": "application/json"})
    assert (
        await response.json()
        == {"name": "tcp_timeout_established"} | (await json_of(client, "/sysctl"))["tcp_timeout_established"]
    )
    assert (await response.json())["value"] == 600_000


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b"999", "999"),
        (b"1800001", "1800001"),
        (b"-1000", "-1000"),
        (b"", ""),
        (b"fast", "fast"),
        (b"1.5", "1.5"),
        (b"0x10000", "0x10000"),
        (b"600_000", "600_000"),
        (b"true", "true"),
        ("６０００００".encode(), "６０００００"),
        (b"\xff\xfe", "��"),
        (b"9" * 4096, "9" * 80),
        (b'{"value": 999}', 999),
        (b'{"value": 1800001}', 1800001),
        (b'{"value": "600000"}', "600000"),
        (b'{"value": true}', True),
        (b'{"value": null}', None),
        (b'{"value": 600000.0}', 600000.0),
        (b'{"value": 1e999}', '{"value": 1e999}'),
        (b'{"value": [600000]}', '{"value": [600000]}'),
        (b'{"valu": 600000}', '{"valu": 600000}'),
        (b"{}", "{}"),
    ],
)
async def test_refusal_names_range_and_value_kept(client: Client, gateway: FakeGateway, body: bytes, given: object) -> None:
    generation = gateway.shared.generation[0]
    problem = await problem_of(await client.put(ESTABLISHED, data=body), 422)
    assert problem["given"] == given
    assert type(problem["given"]) is type(given)
    kept = {"name": "tcp_timeout_established", "value": 900_000, "min": 1000, "max": 1_800_000, "unit": "ms"}
    assert {key: problem[key] for key in kept} == kept
    assert "tcp_timeout_established" in problem["detail"]
    assert problem["detail"].endswith("; the value stays 900000")
    assert gateway.shared.generation[0] == generation


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1", b"600000,", b'{"value": NaN}', b'{"value": -Infinity}', b"[" * 4000, b"\xff", b'{"value": 1}}'],
)
async def test_malformed_json_is_a_bad_request(client: Client, gateway: FakeGateway, body: bytes) -> None:
    generation = gateway.shared.generation[0]
    await problem_of(await client.put(ESTABLISHED, data=body, headers={"Content-Type": "application/json"}), 400)
    assert gateway.shared.generation[0] == generation


async def test_cross_check_of_the_gateway_is_a_refusal(client: Client, gateway: FakeGateway) -> None:
    assert (await client.put("/sysctl/fullnat_lport_max", data=b"6000")).status == 200
    problem = await problem_of(await client.put("/sysctl/fullnat_lport_min", data=b"6001"), 422)
    assert problem["detail"] == "fullnat_lport_min would be greater than fullnat_lport_max; the value stays 5000"
    assert gateway.shared.tunable("fullnat_lport_min") == 5000


async def test_body_of_more_than_4_kib_is_too_large(client: Client, gateway: FakeGateway) -> None:
    problem = await problem_of(await client.put(ESTABLISHED, data=b" " * 4096 + b"600000"), 413)
    assert problem["detail"] == "the body is longer than 4096 bytes"
    zipped = gzip.compress(b" " * 100_000 + b"600000")
    await problem_of(await client.put(ESTABLISHED, data=zipped, headers={"Content-Encoding": "gzip"}), 413)
    assert gateway.shared.tunable("tcp_timeout_established") == 900_000


async def test_body_that_cannot_be_unpacked_is_a_bad_request(client: Client) -> None:
    await problem_of(await client.put(ESTABLISHED, data=b"600000", headers={"Content-Encoding": "gzip"}), 400)


async def test_put_with_an_unknown_format_changes_nothing(client: Client, gateway: FakeGateway) -> None:
    await problem_of(await client.put(ESTABLISHED, params={"format": "xml"}, data=b"600000"), 400)
    assert gateway.shared.tunable("tcp_timeout_established") == 900_000


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_unknown_tunable(client: Client, method: str) -> None:
    response = await client.request(method, "/sysctl/tcp_timeout_establish", data=b"600000" if method == "PUT" else None)
    if method == "HEAD":
        assert response.status == 404
    else:
        problem = await problem_of(response, 404)
        assert (problem["name"], problem["nearest"]) == ("tcp_timeout_establish", "tcp_timeout_established")


async def test_unknown_name_like_no_other_has_no_nearest(client: Client) -> None:
    problem = await problem_of(await client.get("/sysctl/%00%FF" + 4000 * "z"), 404)
    assert problem["nearest"] is None
    assert len(problem["name"]) == 80


async def test_ext_counters_are_the_27_and_no_alias(client: Client) -> None:
    assert list(await json_of(client, "/stats/ext")) == [counter.name for counter in EXT_COUNTERS]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("fullnat_conn_reused_closewait", "fullnat_conn_reused_closetimeout"),
        ("synproxy_conn_reused_closewait", "synproxy_conn_reused_closetimeout"),
        ("synproxy_ackstorm", "synproxy_ack_storm"),
        ("synproxy_synsend_qlen", "synproxy_synsent_qlen"),
        ("synproxy_conn_reuse", "synproxy_conn_reused"),
        ("defence_udp_drop", "defence_udp_drop"),
    ],
)
async def test_one_ext_counter_by_its_name_or_the_one_lvs_kernels_use(
    client: Client, gateway: FakeGateway, alias: str, name: str
) -> None:
    place = [counter.name for counter in EXT_COUNTERS].index(name)
    gateway.shared.table(0, "ext")[place] = 5
    gateway.shared.table(1, "ext")[place] = 6
    gateway.dropped_by_kernel[name] = 3
    assert await text_of(client, f"/stats/ext/{alias}") == "14\n"
    assert await json_of(client, f"/stats/ext/{alias}") == {"name": name, "total": 14, "shards": [5, 6], "kernel": 3}
    assert (await json_of(client, "/stats/ext"))[name] == {"total": 14, "shards": [5, 6], "kernel": 3}


async def test_unknown_ext_counter(client: Client) -> None:
    problem = await problem_of(await client.get("/stats/ext/synproxy_okack"), 404)
    assert problem["nearest"] == "synproxy_ok_ack"


async def test_health_is_bad_when_a_shard_is_down(client: Client, gateway: FakeGateway) -> None:
    assert await text_of(client, "/healthz") == "ok\n"
    gateway.states = [ShardState(0, True, 100, 1), ShardState(1, False, None, 3)]
    response = await client.get("/healthz")
    assert (response.status, await response.text()) == (503, "shard1 is down (started 3 times)\n")
    response = await client.get("/healthz", params={"format": "json"})
    assert (response.status, (await response.json())["status"]) == (503, "down")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("/stats/ex", "/stats/ext"), ("/sysctls", "/sysctl"), ("/sysctl/", "/sysctl"), ("/health", "/healthz")],
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


async def test_sessions_as_text_and_json(client: Client, gateway: FakeGateway) -> None:
    other = SESSION._replace(client="198.51.100.3:1", state="TIME_WAIT")
    gateway.sessions.batches = [[], [SESSION, other], [], [SESSION]]
    lines = (await text_of(client, "/stats/ip_vs_conn")).splitlines()
    assert [line.split()[2:4] for line in lines[2:]] == [
        ["ESTABLISHED", "198.51.100.2:40000"],
        ["TIME_WAIT", "198.51.100.3:1"],
        ["ESTABLISHED", "198.51.100.2:40000"],
    ]
    rows = await json_of(client, "/stats/ip_vs_conn")
    assert [row["source"] for row in rows] == ["198.51.100.2:40000", "198.51.100.3:1", "198.51.100.2:40000"]


@pytest.mark.parametrize("batches", [[], [[]]])
async def test_no_session_is_an_empty_table(client: Client, gateway: FakeGateway, batches: list[Any]) -> None:
    gateway.sessions.batches = batches
    assert len((await text_of(client, "/stats/ip_vs_conn")).splitlines()) == 2
    assert await json_of(client, "/stats/ip_vs_conn") == []


async def test_sessions_are_not_read_for_a_head(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION]]
    await client.head("/stats/ip_vs_conn")
    assert gateway.sessions.batches_taken == 0


@pytest.mark.parametrize("format_", ["text", "json"])
async def test_listing_that_breaks_off_is_seen_to_be_incomplete(client: Client, gateway: FakeGateway, format_: str) -> None:
    gateway.sessions.batches, gateway.sessions.error = [[SESSION]], RuntimeError("worker died")
    response = await client.get("/stats/ip_vs_conn", params={"format": format_})
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
    assert (await client.get("/healthz")).status == 200


async def test_client_that_does_not_read_stops_only_its_own_listing(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    slow = await client.get("/stats/ip_vs_conn")
    assert await text_of(client, ESTABLISHED) == "900000\n"
    taken = -1
    while taken != gateway.sessions.batches_taken:
        taken = gateway.sessions.batches_taken
        for _ in range(100):
            await asyncio.sleep(0)
    assert 0 < taken < 1000
    slow.close()


async def test_client_that_leaves_ends_its_listing_without_a_word_in_the_log(
    gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    # The test server of aiohttp would cancel the handler; the real one lets it find out when it writes.
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    async with aiohttp.ClientSession() as session:
        (await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/stats/ip_vs_conn")).close()
        turns = 0
        while gateway.sessions.listings_open and turns < 100_000:
            await asyncio.sleep(0)
            turns += 1
    await runner.cleanup()
    assert gateway.sessions.listings_open == 0
    assert gateway.sessions.batches_taken < 1000
    assert caplog.records == []


async def test_client_that_leaves_while_it_is_waited_for_is_no_error_either(
    gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """`appliance conns | less`, and then `q`."""
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    async with aiohttp.ClientSession() as session:
        reader = await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/stats/ip_vs_conn")
        taken = -1
        while taken != gateway.sessions.batches_taken:  # until both ends' buffers are full
            taken = gateway.sessions.batches_taken
            for _ in range(100):
                await asyncio.sleep(0)
        reader.close()
        turns = 0
        while gateway.sessions.listings_open and turns < 100_000:
            await asyncio.sleep(0)
            turns += 1
    await runner.cleanup()
    assert gateway.sessions.listings_open == 0
    assert 0 < gateway.sessions.batches_taken < 1000
    assert caplog.records == []


async def test_a_long_listing_lets_others_in_between(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION]] * 1000
    async with asyncio.TaskGroup() as tasks:
        listing = tasks.create_task(text_of(client, "/stats/ip_vs_conn"))
        await text_of(client, ESTABLISHED)
        assert gateway.sessions.batches_taken < 1000
    assert len(listing.result().splitlines()) == 1002


numbers = st.integers().map(lambda value: str(value).encode())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
documents = st.one_of(values, st.fixed_dictionaries({"value": values})).map(lambda value: json.dumps(value).encode())
bodies = st.one_of(st.binary(max_size=5000), numbers, documents)
content_types = st.sampled_from(
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
)


# One server serves all examples: what an example leaves behind is what the next one finds.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(TUNABLES)), body=bodies, kind=content_types)
@example(name="tcp_timeout_close", body=b'{"value": "\\ud800"}', kind="application/json")
@example(name="tcp_timeout_close", body=b'{"value": 1' + b"0" * 4000 + b"}", kind="application/json")
async def test_any_put_holds_or_is_a_problem_that_changes_nothing(
    client: Client, gateway: FakeGateway, name: str, body: bytes, kind: str
) -> None:
    before = gateway.shared.tunables.tolist()
    response = await client.put(f"/sysctl/{name}", data=body, headers={"Content-Type": kind})
    if response.status == 200:
        in_force = gateway.shared.tunable(name)
        sent = json.loads(body) if b"{" in body else int(body)
        assert (sent["value"] if isinstance(sent, dict) else sent) == in_force
        assert await response.text() == f"{in_force}\n"
        assert TUNABLES[name].min <= in_force <= TUNABLES[name].max
    else:
        assert response.status in (400, 413, 422)
        await problem_of(response, response.status)
        assert gateway.shared.tunables.tolist() == before
