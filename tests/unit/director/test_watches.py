"""watches.py: what is counted, logged and told to shards at each look, and that no look ends the appliance."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from unittest.mock import Mock

import pytest

from appliance.director import watches
from appliance.director.watches import FRESH_S, Counts, Events, KernelDrops, QueueDrops, Routes
from appliance.edge.errors import EdgeError
from appliance.edge.queue_stats import QueueStats
from appliance.edge.routes import Route
from appliance.ipc.plan import ServicePlan
from appliance.model.counters import (
    BACKLOG_DROPPED,
    HALF_OPEN_DROPPED,
    QUEUE_COUNTERS,
    QUEUE_FULL_DROPS,
    SOCKET_DROPS,
    SYNCOOKIES_DISENGAGED,
    SYNCOOKIES_ENGAGED,
    TIME_WAIT_OVERFLOWS,
    UNCONFIRMED_DROPPED,
)
from appliance.model.verdicts import SYN_BACKLOG_FULL, TABLE_FULL
from tests.support.gateway import SERVICES, shared_state

(FIRST, SECOND) = (server.address for server in SERVICES[0].real_servers)


def no_services() -> dict[int, str]:
    return {}


def test_refusals_are_logged_once_a_look(caplog: pytest.LogCaptureFixture) -> None:
    shared = shared_state(2, 0)
    events = Events(shared, no_services)
    shared.table(0, "verdicts")[SYN_BACKLOG_FULL.index] += 3
    events.look()
    events.look()
    assert caplog.messages == [f"3 connections in 2 s {SYN_BACKLOG_FULL.summary}"]


def test_each_edge_of_syn_cookies_is_logged_with_the_name_of_its_service(caplog: pytest.LogCaptureFixture) -> None:
    """A service is counted in the slot of any of its real servers, in each shard."""
    shared = shared_state(2, 3)
    events = Events(shared, lambda: {0: "web", 1: "web", 2: "mail"})
    began = "began to answer with SYN cookies: its backlog was over the limit"
    stopped = "stopped answering with SYN cookies: its backlog was well below the limit again"

    def count(shard: int, slot: int, edge: int) -> None:
        shared.cookie_edges(shard, slot)[edge] += 1
        shared.table(shard, "queue")[(SYNCOOKIES_ENGAGED, SYNCOOKIES_DISENGAGED)[edge]] += 1

    def logged() -> list[str]:
        caplog.clear()
        events.look()
        return caplog.messages

    count(1, 2, 0)
    assert logged() == [f"service mail {began}"]
    assert logged() == []
    count(0, 0, 0)
    count(1, 1, 0)
    count(1, 2, 1)
    assert logged() == [f"service mail {stopped}", f"service web {began} (2 times)"]
    count(0, 0, 1)
    count(1, 0, 1)
    assert logged() == [f"service web {stopped} (2 times)"]


def test_full_tables_are_logged_in_the_words_of_the_kernel_once_a_look(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever greps a log for them finds ours as well."""
    shared = shared_state(2, 0)
    events = Events(shared, no_services)
    for shard in (0, 1):
        shared.table(shard, "verdicts")[TABLE_FULL.index] += 2000
        shared.table(shard, "queue")[TIME_WAIT_OVERFLOWS] += 1
    events.look()
    events.look()
    full, overflow = caplog.messages
    assert full == f"table full, dropping packet: 4000 connections in 2 s {TABLE_FULL.summary}"
    assert overflow.startswith("time wait bucket table overflow: 2 sessions in TIME_WAIT that ended early")


@pytest.mark.parametrize("place", [HALF_OPEN_DROPPED, BACKLOG_DROPPED, UNCONFIRMED_DROPPED])
def test_sessions_that_made_way_are_logged(place: int, caplog: pytest.LogCaptureFixture) -> None:
    """A flood that is held off this way shows in no other line."""
    shared = shared_state(2, 0)
    events = Events(shared, no_services)
    shared.table(1, "queue")[place] += 300
    events.look()
    assert caplog.messages == [f"300 {QUEUE_COUNTERS[place].summary}"]


@pytest.mark.parametrize("error", [EdgeError("why"), OSError("why")], ids=["the tool's", "a mistake"])
async def test_kernel_drops_are_those_of_the_last_look_that_did_not_fail(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answers, clock = iter([{"defence_udp_drop": 3}, error, {"defence_udp_drop": 4}]), itertools.count()
    drops = KernelDrops(Mock(side_effect=answers), lambda: next(clock))
    known = [drops.are_known]
    assert await drops.look() == {"defence_udp_drop": 3}
    known.append(drops.are_known)
    assert await drops.look() == {"defence_udp_drop": 3}
    known.append(drops.are_known)
    assert caplog.messages == ["cannot read what the kernel has dropped: why"]
    assert await drops.look() == {"defence_udp_drop": 4}
    assert [*known, drops.are_known] == [False, True, False, True]


async def test_all_who_ask_at_once_share_one_look_at_the_kernel_and_it_is_fresh_for_a_moment() -> None:
    """Each look starts a process, and anybody on the host may ask."""
    now, asked, go = 100.0, 0, Event()

    def read() -> dict[str, int]:
        nonlocal asked
        asked += 1
        go.wait()
        return {"defence_udp_drop": asked}

    drops = KernelDrops(read, lambda: now)
    looks = [asyncio.ensure_future(drops.look()) for _ in range(50)]
    await asyncio.sleep(0)
    looks.pop().cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*looks) == [{"defence_udp_drop": 1}] * 49
    now += 0.9 * FRESH_S
    assert await drops.look() == {"defence_udp_drop": 1}
    now += 0.2 * FRESH_S
    assert await drops.look() == {"defence_udp_drop": 2}


def test_queue_drops_add_up_over_the_lives_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own totals start anew with each worker that binds the queue."""
    looks = iter([{7: QueueStats(0, 5, 1)}, {7: QueueStats(0, 7, 1)}, {}, {7: QueueStats(0, 2, 0)}, {7: QueueStats(0, 1, 0)}])
    monkeypatch.setattr("appliance.edge.queue_stats.read", lambda: next(looks))
    shared = shared_state(2, 0)
    drops = QueueDrops(shared, queue_base=6)
    for _ in range(5):
        drops.look()
    counts = shared.table(1, "queue")
    assert (counts[QUEUE_FULL_DROPS], counts[SOCKET_DROPS]) == (7 + 2 + 1, 1)
    assert not any(shared.table(0, "queue"))


async def test_a_look_at_the_counts_takes_a_sample_and_looks_at_everything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("appliance.edge.queue_stats.read", lambda: {0: QueueStats(0, 5, 1)})
    shared, read = shared_state(1, 1), Mock(return_value={})
    counts = Counts(shared, 0, KernelDrops(read), no_services)
    shared.table(0, "verdicts")[SYN_BACKLOG_FULL.index] += 3
    await counts.look()
    assert counts.meter.rates.shards == ((0.0,) * 5,) * 2
    assert shared.table(0, "queue")[QUEUE_FULL_DROPS] == 5
    assert len(caplog.messages) == 1
    read.assert_called_once()


MtuOf = dict[str, int]


@pytest.fixture
def route_mtus(monkeypatch: pytest.MonkeyPatch) -> MtuOf:
    """The routes of the host, for the test to change. An address that is not in it has no route."""
    found = {server.address: 1500 for service in SERVICES for server in service.real_servers}
    monkeypatch.setattr("appliance.edge.routes.look", lambda asked: {name: Route(found.get(name, 0), name) for name in asked})
    return found


def twice() -> Iterator[ServicePlan]:
    """A service, and another with the same real servers, in slots 0 to 3."""
    web = SERVICES[0]
    yield web
    yield replace(web, real_servers=tuple(replace(server, slot=server.slot + 2) for server in web.real_servers))


async def test_route_mtus_are_written_by_slot_and_only_when_they_change(
    route_mtus: MtuOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shared, services = shared_state(1, 4), tuple(twice())
    looks = Routes(shared)

    async def mtus_after_a_look() -> list[int]:
        await looks.look(services)
        return shared.mtus.tolist()

    assert await mtus_after_a_look() == [1500, 1500, 1500, 1500]
    assert caplog.messages == [], "the first look is no news"
    generation = shared.generation[0]
    await looks.look(services)
    assert shared.generation[0] == generation
    route_mtus[FIRST] = 1280
    assert await mtus_after_a_look() == [1280, 1500, 1280, 1500]
    assert shared.generation[0] == generation + 1
    del route_mtus[SECOND]
    assert await mtus_after_a_look() == [1280, 0, 1280, 0]
    route_mtus[SECOND] = 9000
    assert await mtus_after_a_look() == [1280, 9000, 1280, 9000]
    assert caplog.messages == [
        f"route MTU to {FIRST}: 1500 -> 1280",
        f"route MTU to {SECOND}: no route -> 9000",
    ]
    assert {record.name for record in caplog.records} == {"appliance.director"}


@pytest.mark.parametrize("error", [EdgeError("why"), IndexError("why")], ids=["the kernel's", "a mistake"])
async def test_routes_that_cannot_be_read_end_nothing_and_change_nothing(
    error: Exception, route_mtus: MtuOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = shared_state(1, 3)
    looks = Routes(shared)
    await looks.look(SERVICES)
    monkeypatch.setattr("appliance.edge.routes.look", Mock(side_effect=error))
    await looks.look(SERVICES)
    assert set(shared.mtus.tolist()[: len(route_mtus)]) == {1500}
    assert caplog.messages == ["cannot look after the MTUs of routes: why"]


class FakeNotices:
    """Notices that come from the test: each byte is one, and "!" concerns the appliance."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    @property
    def sockets(self) -> tuple[socket.socket]:
        return (self.ours,)

    def concern_us(self) -> bool:
        return b"!" in self.ours.recv(100)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def notices() -> Iterator[FakeNotices]:
    fake = FakeNotices()
    yield fake
    fake.close()


async def test_the_host_is_looked_after_again_when_it_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, notices: FakeNotices
) -> None:
    monkeypatch.setattr(watches, "WATCH_INTERVAL_S", 0.0)
    monkeypatch.setattr(watches, "LEAST_PAUSE_S", 0.0)
    mended = asyncio.Event()
    loop = asyncio.get_running_loop()
    attempts = iter([EdgeError("why"), ValueError("a mistake"), None])

    def mend() -> None:
        if (error := next(attempts, None)) is not None:
            raise error
        loop.call_soon_threadsafe(mended.set)

    watching = asyncio.ensure_future(watches.watch_host(mend, notices))
    await mended.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert caplog.messages == ["cannot look after the host: why", "cannot look after the host: a mistake"]


async def test_a_notice_that_concerns_us_is_a_look_at_once(monkeypatch: pytest.MonkeyPatch, notices: FakeNotices) -> None:
    monkeypatch.setattr(watches, "WATCH_INTERVAL_S", 1e6)
    monkeypatch.setattr(watches, "LEAST_PAUSE_S", 0.0)
    looked: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def look() -> None:
        loop.call_soon_threadsafe(looked.put_nowait, None)

    watching = asyncio.ensure_future(watches.watch_host(look, notices))
    notices.theirs.send(b"?")
    await asyncio.sleep(0)
    notices.theirs.send(b"!")
    await looked.get()
    notices.theirs.send(b"!")
    await looked.get()
    assert looked.empty()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
