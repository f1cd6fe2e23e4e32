"""Whose sessions are cut when lists change, and when."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import cast

import pytest

from appliance.director import access_control
from appliance.director.access_control import COOKIE_LIFE_S, PAUSE_S, AccessControl
from appliance.director.access_table import AccessTable
from appliance.edge.errors import EdgeError
from appliance.ipc.queries import CLIENTS_MAX, SessionFilter, ShardDownError
from appliance.policy.access_rules import AccessService
from appliance.policy.prefixes import Prefixes, range_of
from appliance.proxy import cookie

WEB = AccessService("web", IPv4Address("203.0.113.10"), "tcp", 80)
DENIES = WEB._replace(deny=Prefixes([range_of("10.0.0.0/8")]))


class FakeTable:
    """The kernel's part."""

    def __init__(self) -> None:
        self.services: Sequence[AccessService] = ()
        self.made: set[str] = set()
        self.refuses = False

    def change(self, services: Sequence[AccessService]) -> None:
        if self.refuses:
            raise EdgeError("nft -f - failed: why")
        self.services = services

    def counts(self) -> Mapping[tuple[str, str], int]:
        if self.refuses:
            raise EdgeError("no")
        return {("web", "denied_drops"): 3}


class FakeSessions:
    """The sessions of some clients with the service."""

    def __init__(self, *clients: str) -> None:
        self.clients = dict.fromkeys(clients, 1)
        self.cuts: list[Sequence[str]] = []
        self.is_down = False

    async def tally(self, by: str, wanted: SessionFilter) -> Mapping[str, int]:
        assert (by, wanted) == ("client", SessionFilter(service="web"))
        if self.is_down:
            raise ShardDownError("the worker of shard 0 is away")
        return dict(self.clients)

    async def cut(self, wanted: SessionFilter, clients: Sequence[str] = ()) -> int:
        assert wanted == SessionFilter(service="web")
        self.cuts.append(clients)
        return sum(self.clients.pop(client) for client in clients)


class Parts:
    """The control, and what is around it."""

    def __init__(self, *clients: str) -> None:
        self.now = 100.0
        self.table, self.sessions = FakeTable(), FakeSessions(*clients)
        self.control = AccessControl(cast("AccessTable", self.table), self.sessions, lambda: self.now)

    async def put(self, *services: AccessService) -> None:
        async with self.control.changed(services):
            pass


async def test_sessions_of_clients_that_are_not_admitted_any_more_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = Parts("10.0.0.1", "192.0.2.1", "10.255.0.1")
    await parts.put(DENIES)
    await parts.control.cut_due()
    assert parts.sessions.cuts == [["10.0.0.1", "10.255.0.1"]]
    assert caplog.messages == ["service web: sessions of clients that are not admitted any more cut: 2"]


async def test_they_are_cut_again_until_no_cookie_from_before_opens_one() -> None:
    assert cookie.COOKIE_LIFE_S == COOKIE_LIFE_S
    parts = Parts("192.0.2.1")
    await parts.put(DENIES)
    await parts.control.cut_due()
    cuts = 0
    while parts.now < 100 + COOKIE_LIFE_S + 3 * PAUSE_S:
        parts.now += PAUSE_S
        parts.sessions.clients["10.0.0.1"] = 1
        await parts.control.cut_due()
        cuts = len(parts.sessions.cuts)
        assert bool(parts.sessions.clients.get("10.0.0.1")) == (parts.now > 100 + COOKIE_LIFE_S)
    assert cuts == COOKIE_LIFE_S / PAUSE_S


async def test_no_sessions_are_looked_at_when_only_a_limit_changes_or_lists_go() -> None:
    parts = Parts("10.0.0.1")
    parts.sessions.is_down = True
    await parts.put(WEB._replace(client_mask=24))
    await parts.control.cut_due()
    await parts.put()
    await parts.control.cut_due()


async def test_a_cut_that_fails_stays_due() -> None:
    parts = Parts("10.0.0.1")
    parts.sessions.is_down = True
    await parts.put(DENIES)
    with pytest.raises(ShardDownError):
        await parts.control.cut_due()
    parts.sessions.is_down = False
    await parts.control.cut_due()
    assert parts.sessions.cuts == [["10.0.0.1"]]


async def test_many_clients_are_cut_some_at_a_time() -> None:
    parts = Parts(*(f"10.0.{number >> 8}.{number & 255}" for number in range(CLIENTS_MAX + 5)))
    await parts.put(DENIES)
    await parts.control.cut_due()
    assert [len(some) for some in parts.sessions.cuts] == [CLIENTS_MAX, 5]


async def test_what_is_refused_later_puts_the_lists_back() -> None:
    parts = Parts("10.0.0.1")
    await parts.put(WEB)

    async def refuse_later() -> None:
        async with parts.control.changed([DENIES]):
            assert parts.table.services == [DENIES]
            raise KeyError

    with pytest.raises(KeyError):
        await refuse_later()
    assert parts.table.services == (WEB,)
    await parts.control.cut_due()
    assert parts.sessions.cuts == []


async def test_what_the_kernel_refuses_changes_nothing_and_what_it_does_not_say_is_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = Parts()
    assert await parts.control.drops() == {("web", "denied_drops"): 3}
    parts.table.refuses = True
    with pytest.raises(EdgeError):
        await parts.put(DENIES)
    assert parts.table.services == ()
    assert await parts.control.drops() == {}
    assert "cannot read what access lists and rate limits have dropped: no" in caplog.messages


async def test_the_watch_waits_for_what_is_due_next() -> None:
    parts = Parts("10.0.0.1")
    waits: list[float | None] = []

    class EnoughError(Exception):
        pass

    async def wait(awaitable: object, wait_s: float | None) -> object:
        awaitable.close()  # type: ignore[attr-defined]
        waits.append(wait_s)
        if len(waits) == 3:
            raise EnoughError
        if len(waits) == 1:
            await parts.put(DENIES)
            parts.control.cut_soon()
        raise TimeoutError

    control = AccessControl(cast("AccessTable", parts.table), parts.sessions, lambda: parts.now, wait)
    parts.control = control
    with pytest.raises(EnoughError):
        await control.watch()
    assert waits == [None, PAUSE_S, PAUSE_S]
    assert parts.sessions.cuts == [["10.0.0.1"]]
    assert access_control.PAUSE_S < COOKIE_LIFE_S
