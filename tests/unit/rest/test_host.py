"""rest/host.py over HTTP: reads, writes, refusals, and names as people type them."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.model.host_parameters import HOST_PARAMETERS
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

FIN_TIMEOUT = "/host/sysctl/tcp_fin_timeout"
RMEM = "/host/sysctl/tcp_rmem"


def in_force(gateway: FakeGateway, path: str) -> tuple[int, ...]:
    return gateway.host_parameters.values[path]


async def test_all_are_listed(client: Client) -> None:
    assert list(await json_of(client, "/host/sysctl")) == list(HOST_PARAMETERS)
    assert len((await text_of(client, "/host/sysctl")).splitlines()) == 1 + len(HOST_PARAMETERS)


@pytest.mark.parametrize("name", HOST_PARAMETERS)
async def test_each_is_read_and_explained(client: Client, name: str) -> None:
    document = await json_of(client, f"/host/sysctl/{name}")
    assert document["name"] == name
    assert document["sysctl"] == HOST_PARAMETERS[name].full_name()
    text = await text_of(client, f"/host/sysctl/{name}")
    assert (text == "\n") == (document["state"] == "absent")


async def test_a_value_is_scriptable(client: Client) -> None:
    assert await text_of(client, FIN_TIMEOUT) == "60\n"
    assert await text_of(client, "/host/sysctl/ip_local_port_range") == "32768 60999\n"
    assert await text_of(client, "/host/sysctl/send_redirects") == "all 1\nclient0 1\neth0.5 1\n"


@pytest.mark.parametrize(
    ("name", "body", "content_type", "values"),
    [
        ("tcp_fin_timeout", b"30", "application/x-www-form-urlencoded", (30,)),
        ("tcp_fin_timeout", b" 30\n", "text/plain", (30,)),
        ("tcp_fin_timeout", b"30", "application/json", (30,)),
        ("tcp_fin_timeout", b'{"value": 30, "unit": "s"}', "application/x-www-form-urlencoded", (30,)),
        ("tcp_rmem", b"4096 131072 6291456", "application/x-www-form-urlencoded", (4096, 131072, 6291456)),
        ("tcp_rmem", b"[4096, 131072, 6291456]", "application/x-www-form-urlencoded", (4096, 131072, 6291456)),
        ("tcp_rmem", b"[4096, 131072, 6291456]", "application/json", (4096, 131072, 6291456)),
        ("tcp_rmem", b'{"value": [4096, 131072, 6291456]}', "application/json", (4096, 131072, 6291456)),
    ],
)
async def test_put_takes_numbers_and_json(
    client: Client, gateway: FakeGateway, name: str, body: bytes, content_type: str, values: tuple[int, ...]
) -> None:
    response = await client.put(f"/host/sysctl/{name}", data=body, headers={"Content-Type": content_type})
    assert (response.status, await response.text()) == (200, f"{' '.join(map(str, values))}\n")
    assert in_force(gateway, f"ipv4/{name}") == values


async def test_what_was_read_as_json_can_be_put_back(client: Client) -> None:
    for name in ("tcp_fin_timeout", "ip_local_port_range"):
        document = await json_of(client, f"/host/sysctl/{name}")
        response = await client.put(f"/host/sysctl/{name}", json=document, headers={"Accept": "application/json"})
        assert await response.json() == document


@pytest.mark.parametrize(
    ("name", "body", "given", "detail", "field"),
    [
        ("tcp_fin_timeout", b"0", "0", "tcp_fin_timeout: 0 is out of range 1..3600 s; the value stays 60", "value"),
        (
            "tcp_fin_timeout",
            b"soon",
            "soon",
            "tcp_fin_timeout: 'soon' is not an integer (allowed: 1..3600 s); the value stays 60",
            "",
        ),
        (
            "tcp_fin_timeout",
            b'{"value": "30"}',
            "30",
            'tcp_fin_timeout: this is not {"value": INTEGER} (allowed: 1..3600 s); the value stays 60',
            "",
        ),
        (
            "tcp_fin_timeout",
            b'{"value": true}',
            True,
            'tcp_fin_timeout: this is not {"value": INTEGER} (allowed: 1..3600 s); the value stays 60',
            "",
        ),
        (
            "ip_local_port_range",
            b"[60000, 50000]",
            "[60000, 50000]",
            "ip_local_port_range: last 50000 is below first, which is 60000 (allowed: first last: each 1024..65535 port, "
            "ascending); the value stays [32768, 60999]",
            "last",
        ),
        (
            "ip_local_port_range",
            b"{}",
            "{}",
            'ip_local_port_range: this is not {"value": [INTEGER, INTEGER]} (allowed: first last: each 1024..65535 port, '
            "ascending); the value stays [32768, 60999]",
            "",
        ),
        (
            "nf_conntrack_max",
            b"65536",
            "65536",
            "nf_conntrack_max: cannot be written: the test says so; the value stays 1024",
            "",
        ),
        ("tcp_tw_recycle", b"4096", "4096", "tcp_tw_recycle: cannot be written: the kernel of the test does not have it", ""),
        ("tcp_tw_recycle", b"1", "1", "tcp_tw_recycle: cannot be written: the kernel of the test does not have it", ""),
    ],
)
async def test_a_refusal_has_the_field_the_ranges_and_the_value_in_force(
    client: Client, gateway: FakeGateway, name: str, body: bytes, given: object, detail: str, field: str
) -> None:
    before = dict(gateway.host_parameters.values)
    problem = await problem_of(await client.put(f"/host/sysctl/{name}", data=body), 422)
    assert (problem["detail"], problem["field"], problem["name"]) == (detail, field, name)
    parameter = HOST_PARAMETERS[name]
    assert [(one["field"], one["min"], one["max"]) for one in problem["ranges"]] == [*parameter.numbers]
    assert problem["unit"] == parameter.unit
    assert problem["value"] == (await json_of(client, f"/host/sysctl/{name}"))["value"]
    assert problem["given"] == given
    assert gateway.host_parameters.values == before


async def test_a_value_that_would_break_the_gateway_says_why(client: Client) -> None:
    problem = await problem_of(await client.put("/host/sysctl/ip_forward", data=b"0"), 422)
    assert problem["detail"].startswith("ip_forward: 0 would break the gateway. A rewritten packet is routed to the other side.")
    problem = await problem_of(await client.put("/host/sysctl/rp_filter", data=b"1"), 422)
    assert "rp_filter: 1 at client0 would break the gateway" in problem["detail"]


async def test_one_for_each_interface_is_written_at_those_of_the_gateway_or_at_the_one_that_is_named(
    client: Client, gateway: FakeGateway
) -> None:
    assert await (await client.put("/host/sysctl/rp_filter", data=b"2")).text() == "all 0\nclient0 2\neth0.5 2\n"
    for typed, path in (
        ("conf.eth0.5.rp_filter", "ipv4/conf/eth0.5/rp_filter"),
        ("net.ipv4.conf.eth0%2F5.rp_filter", "ipv4/conf/eth0.5/rp_filter"),
        ("%2Fproc%2Fsys%2Fnet%2Fipv4%2Fconf%2Fall%2Frp_filter", "ipv4/conf/all/rp_filter"),
    ):
        response = await client.put(f"/host/sysctl/{typed}", data=b"0")
        assert (response.status, await response.text()) == (200, "0\n")
        assert in_force(gateway, path) == (0,)
    assert in_force(gateway, "ipv4/conf/client0/rp_filter") == (2,)
    assert (await json_of(client, "/host/sysctl/conf.all.rp_filter"))["name"] == "conf.all.rp_filter"


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_an_interface_of_others_is_no_business_of_the_gateway(client: Client, gateway: FakeGateway, method: str) -> None:
    before = dict(gateway.host_parameters.values)
    data = b"0" if method == "PUT" else None
    problem = await problem_of(await client.request(method, "/host/sysctl/conf.eth0.rp_filter", data=data), 404)
    assert problem["detail"] == "rp_filter: 'eth0' is no interface of the gateway; there are all, client0, eth0.5"
    assert problem["nearest"] == "eth0.5"
    assert gateway.host_parameters.values == before


@pytest.mark.parametrize(
    "typed",
    ["net.ipv4.tcp_fin_timeout", "%2Fproc%2Fsys%2Fnet%2Fipv4%2Ftcp_fin_timeout", "net%2Fipv4%2Ftcp_fin_timeout"],
)
async def test_a_full_name_is_understood(client: Client, typed: str) -> None:
    document = await json_of(client, f"/host/sysctl/{typed}")
    assert (document["name"], document["value"]) == ("tcp_fin_timeout", 60)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_an_unknown_name_has_a_nearest_one(client: Client, method: str) -> None:
    response = await client.request(method, "/host/sysctl/net.ipv4.tcp_fin_timeou", data=b"1" if method == "PUT" else None)
    problem = await problem_of(response, 404)
    assert problem["nearest"] == "tcp_fin_timeout"
    assert "; the nearest is tcp_fin_timeout" in problem["detail"]


async def test_a_name_of_one_table_is_told_where_it_lives_in_the_other(client: Client) -> None:
    problem = await problem_of(await client.get("/host/sysctl/tcp_timeout_established"), 404)
    assert problem["detail"] == (
        "there is no host parameter 'tcp_timeout_established'; tcp_timeout_established is a tunable of the gateway: "
        "/sysctl/tcp_timeout_established, [sysctl]"
    )
    problem = await problem_of(await client.get("/sysctl/net.ipv4.tcp_fin_timeout"), 404)
    assert problem["detail"] == (
        "there is no tunable 'net.ipv4.tcp_fin_timeout'; net.ipv4.tcp_fin_timeout is a parameter of the host: "
        "/host/sysctl/tcp_fin_timeout, [host.sysctl]; for sessions of the gateway there are the tunables tcp_timeout_fin_wait, "
        "tcp_timeout_time_wait"
    )


async def test_a_name_of_both_tables_is_each_of_its_own(client: Client, gateway: FakeGateway) -> None:
    assert (await client.put("/host/sysctl/tcp_syncookies", data=b"2")).status == 200
    assert (await client.put("/sysctl/tcp_syncookies", data=b"0")).status == 200
    assert in_force(gateway, "ipv4/tcp_syncookies") == (2,)
    assert gateway.shared.tunable("tcp_syncookies") == 0
    assert (await json_of(client, "/host/sysctl/tcp_syncookies"))["tunables"] == ["tcp_syncookies"]


async def test_who_may_only_read_changes_nothing(client: Client, gateway: FakeGateway) -> None:
    gateway.access.is_writer = False
    assert await text_of(client, FIN_TIMEOUT) == "60\n"
    await problem_of(await client.put(FIN_TIMEOUT, data=b"30"), 403)
    await problem_of(await client.put(FIN_TIMEOUT, data=b"30", params={"format": "xml"}), 400)
    assert in_force(gateway, "ipv4/tcp_fin_timeout") == (60,)


async def test_a_recommendation_follows_the_ports_of_sessions(client: Client) -> None:
    assert (await json_of(client, "/host/sysctl/ip_local_port_range"))["recommended"] is None
    await client.put("/sysctl/fullnat_lport_min", data=b"32768")
    assert (await json_of(client, "/host/sysctl/ip_local_port_range"))["recommended"] == [1024, 32767]


numbers = st.lists(st.integers(-1, 2**31), max_size=4)
bodies = st.one_of(
    st.binary(max_size=200),
    numbers.map(lambda values: " ".join(map(str, values)).encode()),
    st.one_of(numbers, st.lists(st.floats() | st.text() | st.none())).map(lambda values: json.dumps({"value": values}).encode()),
)


# One server serves all examples: what an example leaves behind is what the next one finds.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(HOST_PARAMETERS)), body=bodies)
async def test_any_put_holds_or_is_a_problem_that_changes_nothing(
    client: Client, gateway: FakeGateway, name: str, body: bytes
) -> None:
    before = dict(gateway.host_parameters.values)
    response = await client.put(f"/host/sysctl/{name}", data=body)
    if response.status == 200:
        parameter = HOST_PARAMETERS[name]
        values = in_force(gateway, parameter.path_at("client0"))
        assert all(number.low <= value <= number.high for number, value in zip(parameter.numbers, values, strict=True))
        assert sorted(values) == [*values]
    else:
        assert response.status in (400, 422)
        await problem_of(response, response.status)
        assert gateway.host_parameters.values == before
