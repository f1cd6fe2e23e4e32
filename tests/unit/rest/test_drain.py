"""rest/drain.py over HTTP: drains begin, are shown and taken back; whatever is forged changes nothing."""

import logging

import pytest
from yarl import URL

from appliance.health.check import Target
from appliance.health.drain import LONGEST_DEADLINE_S
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

A = Target("web", "192.0.2.101", 8080)
PATH = "/services/web/real_servers/192.0.2.101:8080/drain"


async def test_a_drain_begins_and_is_taken_back(client: Client, gateway: FakeGateway) -> None:
    assert await text_of(client, PATH) == "web 192.0.2.101:8080 is not drained: 7 sessions\n"
    answer = await client.post(PATH)
    assert (answer.status, await answer.text()) == (200, "web 192.0.2.101:8080 is drained: 7 sessions left\n")
    assert gateway.drains.deadlines == {A: None}
    assert (await json_of(client, PATH))["draining"] is True
    answer = await client.delete(PATH)
    assert (answer.status, await answer.text()) == (200, "web 192.0.2.101:8080 is not drained: 7 sessions\n")
    assert gateway.drains.deadlines == {}
    assert (await client.delete(PATH)).status == 200, "it is as it was asked for"


async def test_what_is_left_and_what_is_wrong_is_said(client: Client, gateway: FakeGateway) -> None:
    await client.post(f"{PATH}?deadline_s=60")
    assert gateway.drains.deadlines == {A: 60}
    assert await text_of(client, PATH) == "web 192.0.2.101:8080 is drained: 7 sessions left, which are ended in 60 s\n"
    await client.post(f"{PATH}?deadline_s=0")
    gateway.drains.sessions = 1
    assert await text_of(client, PATH) == "web 192.0.2.101:8080 is drained: 1 session left, which end now\n"
    gateway.drains.sessions = 0
    gateway.health.troubles = {"web": "no real server is up and not drained: new sessions are refused"}
    gone = "web 192.0.2.101:8080 is drained: its last session is gone; "
    assert await text_of(client, PATH) == f"{gone}{gateway.health.troubles['web']}\n"


@pytest.mark.parametrize(
    "deadline", ["-1", "nan", "NaN", "inf", "1e3", "1.5", "", " ", "+5", "0x10", "٣", "9" * 5000, str(LONGEST_DEADLINE_S + 1)]
)
async def test_a_deadline_out_of_range_changes_nothing(client: Client, gateway: FakeGateway, deadline: str) -> None:
    problem = await problem_of(await client.post(PATH, params={"deadline_s": deadline}), 400)
    assert problem["detail"].startswith("deadline_s: ")
    assert problem["detail"].endswith(f" is out of range 0..{LONGEST_DEADLINE_S}, whole seconds")
    assert len(problem["detail"]) < 200
    assert gateway.drains.deadlines == {}


@pytest.mark.parametrize("deadline", ["0", "007", str(LONGEST_DEADLINE_S)])
async def test_the_ends_of_the_range_are_in_it(client: Client, gateway: FakeGateway, deadline: str) -> None:
    assert (await client.post(PATH, params={"deadline_s": deadline})).status == 200
    assert gateway.drains.deadlines == {A: int(deadline)}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("service", "server", "detail"),
    [
        ("wep", "192.0.2.101:8080", "there is no service 'wep'; the nearest is web"),
        ("web", "192.0.2.101:8081", "there is no real server of service web '192.0.2.101:8081'; the nearest is 192.0.2.101:8080"),
        ("web", "192.0.2.101:08080", "there is no real server of service web '192.0.2.101:08080'"),
        ("web", "192.0.2.101:8080%0a", "there is no real server of service web '192.0.2.101:8080\\n'"),
        ("..%2f..", "192.0.2.101:8080", "there is no service '../..'"),
        ("%00", "x" * 3000, "there is no service '\\x00'"),
        ("web", "%f0%9f" * 500, "there is no real server of service web"),
    ],
)
async def test_a_forged_name_is_compared_and_never_believed(
    client: Client, gateway: FakeGateway, method: str, service: str, server: str, detail: str
) -> None:
    url = URL(f"/services/{service}/real_servers/{server}/drain", encoded=True)
    problem = await problem_of(await client.request(method, url), 404)
    assert problem["detail"].startswith(detail)
    assert len(problem["detail"]) < 1000
    assert gateway.drains.deadlines == {}


async def test_a_reader_may_look_and_not_drain(client: Client, gateway: FakeGateway) -> None:
    gateway.access.is_writer = False
    assert (await client.get(PATH)).status == 200
    for method in ("POST", "DELETE"):
        assert (await problem_of(await client.request(method, PATH), 403))["type"].endswith(":read-only")
    assert gateway.drains.deadlines == {}


async def test_each_is_a_line_of_the_audit(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="appliance.audit")
    await client.post(f"{PATH}?deadline_s=60")
    await client.delete(PATH)
    await client.post(f"{PATH}?deadline_s=-1")
    begun, taken_back, refused = caplog.messages
    assert '"drain, deadline in 60 s"' in begun
    assert 'before="web 192.0.2.101:8080 is not drained: 7 sessions"' in begun
    assert 'after="web 192.0.2.101:8080 is drained: 7 sessions left, which are ended in 60 s"' in begun
    assert 'what="DELETE ' in taken_back
    assert 'after="web 192.0.2.101:8080 is not drained: 7 sessions"' in taken_back
    assert 'outcome="400 Bad Request"' in refused


async def test_one_that_is_removed_meanwhile_is_not_found(client: Client, gateway: FakeGateway) -> None:
    del gateway.drains.known[A]
    for method in ("GET", "POST", "DELETE"):
        await problem_of(await client.request(method, PATH), 404)


async def test_it_is_in_the_views(client: Client) -> None:
    await client.post(PATH)
    [first, second] = (await json_of(client, "/stats/ip_vs"))["services"][0]["real_servers"]
    assert (first["draining"], first["weight"], second["draining"]) == (True, 100, False)
    assert "  -> 192.0.2.101:8080             FullNat 0 " in await text_of(client, "/stats/ip_vs")
    metrics = await (await client.get("/metrics")).text()
    assert 'appliance_real_server_draining{real_server="192.0.2.101:8080",service="web"} 1.0' in metrics
    assert 'appliance_real_server_draining{real_server="192.0.2.102:8080",service="web"} 0.0' in metrics
