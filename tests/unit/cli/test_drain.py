"""cli/drain.py: what is asked, and the exit code of each way in which a wait ends."""

import asyncio
import json
from collections.abc import Callable

import pytest

from appliance.api import make_app, serve
from appliance.cli import drain
from appliance.health.check import Target
from tests.support.gateway import FakeGateway
from tests.unit.cli.conftest import Operator

A = Target("web", "192.0.2.101", 8080)
SERVER = ("web", "192.0.2.101:8080")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.cli.drain._LOOK_S", 0.001)


async def test_it_begins_a_drain_shows_it_and_takes_it_back(operator: Operator) -> None:
    drained = "web 192.0.2.101:8080 is drained: 7 sessions left, which are ended in 30 s\n"
    assert await operator.reads("drain", *SERVER, "--deadline", "30") == drained
    assert operator.gateway.drains.deadlines == {A: 30}
    assert await operator.reads("drain", *SERVER, "--show") == drained
    assert json.loads(await operator.reads("drain", *SERVER, "--show", "--json"))["sessions"] == 7
    assert await operator.reads("drain", *SERVER, "--undo") == "web 192.0.2.101:8080 is not drained: 7 sessions\n"
    assert operator.gateway.drains.deadlines == {}


async def test_what_the_api_refuses_is_said_and_nothing_is_waited_for(operator: Operator) -> None:
    printed = await operator.types("drain", *SERVER, "--deadline", "-5", "--wait")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == "appliance: deadline_s: '-5' is out of range 0..604800, whole seconds\n"
    printed = await operator.types("drain", "web", "../x", "--wait")
    assert printed.code == 1
    assert "there is no real server of service web '../x'" in printed.err


async def until_drained(gateway: FakeGateway) -> None:
    for _ in range(1_000_000):
        if gateway.drains.deadlines:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nobody is drained")


async def waited(operator: Operator, change: Callable[[], object], *words: str) -> tuple[int, str]:
    """The exit code and the complaints of a wait, during which something changes."""
    waiting = asyncio.ensure_future(operator.types("drain", *SERVER, "--wait", *words))
    await until_drained(operator.gateway)
    change()
    printed = await waiting
    return printed.code, printed.err


async def test_a_wait_ends_when_the_last_session_is_gone(operator: Operator) -> None:
    assert await waited(operator, lambda: setattr(operator.gateway.drains, "sessions", 0)) == (0, "")


async def test_a_wait_ends_when_somebody_takes_the_drain_back(operator: Operator) -> None:
    code, said = await waited(operator, operator.gateway.drains.deadlines.clear)
    assert (code, said) == (3, "appliance: real server 192.0.2.101:8080 of service web is not drained any more\n")


async def test_a_wait_ends_when_the_real_server_is_removed(operator: Operator) -> None:
    code, said = await waited(operator, operator.gateway.drains.known.clear)
    assert (code, said) == (4, "appliance: real server 192.0.2.101:8080 of service web is not there any more\n")


async def test_a_wait_may_be_limited(operator: Operator) -> None:
    printed = await operator.types("drain", *SERVER, "--wait", "--timeout", "0")
    assert (printed.code, printed.err) == (5, "appliance: real server 192.0.2.101:8080 of service web has 7 sessions left\n")


@pytest.mark.parametrize("seconds", ["-1", "nan", "1e9", "", "9" * 30])
async def test_a_timeout_that_is_none_is_a_wrong_command_line(operator: Operator, seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        await operator.types("drain", *SERVER, "--wait", "--timeout", seconds)
    assert ended.value.code == 2


async def test_a_restart_meanwhile_does_no_harm(operator: Operator) -> None:
    """There is no API for a while, and then another one."""
    gateway = FakeGateway()
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    host, port = runner.addresses[0][:2]
    waiting = asyncio.ensure_future(operator.types("drain", *SERVER, "--wait", api=f"http://{host}:{port}"))
    await until_drained(gateway)
    await runner.cleanup()
    gateway.drains.sessions = 0
    runner = await serve(make_app(gateway), [f"{host}:{port}"])
    assert (await waiting).code == 0
    await runner.cleanup()


async def test_an_appliance_that_stays_away_is_an_error(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_PATIENCE_S", 0.01)
    gateway = FakeGateway()
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    host, port = runner.addresses[0][:2]
    waiting = asyncio.ensure_future(operator.types("drain", *SERVER, "--wait", api=f"http://{host}:{port}"))
    await until_drained(gateway)
    await runner.cleanup()
    printed = await waiting
    assert printed.code == 1
    assert "no answer from" in printed.err


async def test_events_are_shown(operator: Operator) -> None:
    operator.gateway.events.add("drained", "web", "192.0.2.101:8080", "its last session is gone")
    assert "drained  web\n    192.0.2.101:8080  its last session is gone\n" in await operator.reads("events")
    assert "drained  web      192.0.2.101:8080  its last session is gone\n" in await operator.reads("events", "--wide")
    assert "drained" not in await operator.reads("events", "--since", str(operator.gateway.events.last))
