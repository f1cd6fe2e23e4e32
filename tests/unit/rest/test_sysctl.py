"""rest/sysctl.py over HTTP: reads, refusals, and writes that either hold or change nothing."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.model.tunables import TUNABLES
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

ESTABLISHED = "/sysctl/tcp_timeout_established"


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


@pytest.mark.parametrize(
    "typed",
    [
        "net.ipv4.vs.tcp_timeout_established",
        "net%2Fipv4%2Fvs%2Ftcp_timeout_established",
        "%2Fproc%2Fsys%2Fnet%2Fipv4%2Fvs%2Ftcp_timeout_established",
    ],
)
async def test_a_name_as_lvs_has_it_is_understood(client: Client, gateway: FakeGateway, typed: str) -> None:
    assert (await json_of(client, f"/sysctl/{typed}"))["name"] == "tcp_timeout_established"
    assert (await client.put(f"/sysctl/{typed}", data=b"600000")).status == 200
    assert gateway.shared.tunable("tcp_timeout_established") == 600_000


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_parameter_of_the_host_is_told_where_it_lives(client: Client, gateway: FakeGateway, method: str) -> None:
    """Also one whose bare name is a tunable too: a full name means one of them."""
    generation = gateway.shared.generation[0]
    for typed, lives_at in (
        ("tcp_fin_timeout", "/host/sysctl/tcp_fin_timeout"),
        ("net.ipv4.tcp_syncookies", "/host/sysctl/tcp_syncookies"),
        ("net.ipv4.conf.all.rp_filter", "/host/sysctl/conf.all.rp_filter"),
    ):
        problem = await problem_of(await client.request(method, f"/sysctl/{typed}", data=b"1" if method == "PUT" else None), 404)
        assert f" is a parameter of the host: {lives_at}, [host.sysctl]" in problem["detail"]
        assert problem["nearest"] is None
    assert gateway.shared.generation[0] == generation
