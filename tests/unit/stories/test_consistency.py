"""What `sessions.consistency` finds when something of a shard was broken, and that it finds nothing while traffic goes on."""

from collections.abc import Callable
from random import Random
from struct import pack_into

import pytest

from appliance.ipc.admission_layout import RING_OFFSETS
from appliance.ipc.rows import Consistency
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES
from appliance.model.tcp_state import TcpState
from appliance.sessions.consistency import ConsistencyCheck
from appliance.sessions.lane_entries import LaneEntries
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.state.lane_entry import each, flows_in
from appliance.state.session import Session
from tests.support.addresses import C0, R0
from tests.support.endpoints import consistency_of
from tests.support.short_lived_scene import Scene
from tests.support.world import World, plan

IN_TABLES, FRESH, RESTED = (1, 2, 3), (4, 5, 6), (7, 8, 9)


@pytest.fixture
def scene() -> Scene:
    """A shard with sessions of all kinds: three of each, and some tickets."""
    scene = Scene()
    scene.is_over(*RESTED)
    for number in IN_TABLES:
        scene.moves(scene.opens(number), TcpState.ESTABLISHED)
    scene.take_over_and_look()
    scene.inside.prepared.take_in_all()
    for number in FRESH:
        scene.opens(number)
    scene.look()
    found = consistency_of(scene.inside)
    assert (found.wrong, found.entries["used"]) == (0, sum(sum(counts.values()) for counts in found.held.values()))
    assert found.held.keys() == {"192.0.2.101:8080", "192.0.2.102:8080"}
    kinds = {kind: sum(counts[kind] for counts in found.held.values()) for kind in ("in_use", "young", "resting")}
    assert kinds == {"in_use": 3, "young": 3, "resting": 3}
    return scene


def session_of(scene: Scene) -> Session:
    session = scene.inside.lane.entries.owner(scene.entry_of(1))
    assert session is not None
    return session


def entries_of(scene: Scene) -> LaneEntries:
    return scene.inside.lane.entries


def flow_of(scene: Scene, number: int, side: int) -> bytes:
    return each(flows_in(scene.world.maps.records, scene.entry_of(number)))[side]


def frees_a_port_in_use(scene: Scene) -> None:
    session = session_of(scene)
    scene.inside.local_ports("tcp").release(session.local_address, session.real_server.endpoint, session.local_port, 1)


def takes_a_port_for_nobody(scene: Scene) -> None:
    session = session_of(scene)
    assert scene.inside.local_ports("tcp").acquire(session.local_address, session.real_server.endpoint, 1000)


def takes_an_entry_for_nobody(scene: Scene) -> None:
    assert entries_of(scene).take(7, None, 0.0) is not None


def returns_an_entry_in_use(scene: Scene) -> None:
    entries_of(scene)._resting.append((0.0, scene.entry_of(4)))


def has_an_entry_twice(scene: Scene) -> None:
    ticket = scene.short._young[scene.entry_of(4)]
    scene.short._resting.tickets[ticket.entry] = ticket


def has_an_endpoint_twice(scene: Scene) -> None:
    ticket = scene.short._young[scene.entry_of(4)]
    entry = entries_of(scene).take(ticket.session.local_port & 0xFF, None, 0.0)
    assert entry is not None
    scene.short._young[entry] = ticket._replace(entry=entry)


def has_an_entry_of_another_slot(scene: Scene) -> None:
    ticket = scene.short._young.pop(scene.entry_of(4))
    entry = entries_of(scene).take((ticket.session.local_port + 1) & 0xFF, None, 0.0)
    assert entry is not None
    scene.short._young[entry] = ticket._replace(entry=entry)


def has_another_entry(scene: Scene) -> None:
    session_of(scene).entry = scene.entry_of(2)


def loses_a_flow(scene: Scene) -> None:
    scene.world.maps.remove_flow(flow_of(scene, 7, 0))


def has_a_flow_of_another(scene: Scene) -> None:
    scene.world.maps.table[flow_of(scene, 5, 1)] = 2 * scene.entry_of(6) + 1


def has_a_flow_to_nobody(scene: Scene) -> None:
    scene.world.maps.table[bytes(40)] = 2 * entries_of(scene).unused(3).start


def has_a_flow_that_no_record_names(scene: Scene) -> None:
    scene.world.maps.table[bytes(40)] = 2 * scene.entry_of(1)


def has_the_record_of_another(scene: Scene) -> None:
    pack_into("<H", scene.world.maps.records, scene.entry_of(1) * RECORD_BYTES + OFFSETS["local_port"], 1)


def loses_a_record(scene: Scene) -> None:
    pack_into("<H", scene.world.maps.records, scene.entry_of(5) * RECORD_BYTES, 0)


def keeps_the_record_of_a_free_entry(scene: Scene) -> None:
    entry = entries_of(scene).take(7, None, 0.0)
    assert entry is not None
    entries_of(scene).give_back(entry, 0.0)
    pack_into("<H", scene.world.maps.records, entry * RECORD_BYTES, 1)


def has_a_record_that_nobody_wrote(scene: Scene) -> None:
    pack_into("<H", scene.world.maps.records, entries_of(scene).unused(3).start * RECORD_BYTES, 1)


def has_another_ticket_in_the_ring(scene: Scene) -> None:
    scene.kernel._cells[RING_OFFSETS["tickets"] // 4 + scene.kernel._longs[0] % 512] += 1


def counts_a_session_too_many(scene: Scene) -> None:
    scene.inside.by_state.counts[TcpState.ESTABLISHED] += 1


def counts_a_ticket_too_many(scene: Scene) -> None:
    scene.inside.prepared._ready += 1


def counts_an_entry_too_many(scene: Scene) -> None:
    entries_of(scene).in_use += 1


FAULTS: list[tuple[Callable[[Scene], None], str]] = [
    (frees_a_port_in_use, "the local port of the session of web with 192.0.2.10"),
    (takes_a_port_for_nobody, "local ports of tcp in use: "),
    (takes_an_entry_for_nobody, "is neither held nor free"),
    (returns_an_entry_in_use, "is held or free 2 times"),
    (has_an_entry_twice, "is held or free 2 times"),
    (has_an_endpoint_twice, "2 entries of slot "),
    (has_an_entry_of_another_slot, "is not of slot "),
    (has_another_entry, "which is not its own"),
    (loses_a_flow, "resting: its flows lead to nothing, entry "),
    (has_a_flow_of_another, "young: its flows lead to entry "),
    (has_a_flow_to_nobody, "which nobody holds"),
    (has_a_flow_that_no_record_names, "which has another"),
    (has_the_record_of_another, "its record is not that of the session of web with 192.0.2.10"),
    (loses_a_record, "its record is that of no session"),
    (keeps_the_record_of_a_free_entry, "is free, and has a session record"),
    (has_a_record_that_nobody_wrote, "was never used, and has a session record"),
    (has_another_ticket_in_the_ring, "a ring has other tickets"),
    (counts_a_session_too_many, "sessions by state: 10, and 9 are there"),
    (counts_a_ticket_too_many, "prepared admissions: "),
    (counts_an_entry_too_many, "entries in use: "),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_what_was_broken_is_found(scene: Scene, fault: Callable[[Scene], None], said: str) -> None:
    fault(scene)
    found = consistency_of(scene.inside)
    assert any(said in problem for problem in found.problems), found.problems
    assert found.wrong >= len(found.problems)


def test_of_many_problems_some_are_told(scene: Scene) -> None:
    for flow in list(scene.world.maps.table):
        scene.world.maps.table[flow] = 2 * entries_of(scene).unused(3).start
    found = consistency_of(scene.inside)
    assert (len(found.problems), found.wrong > 20) == (20, True)


@pytest.mark.parametrize("seed", range(6))
def test_traffic_that_goes_on_meanwhile_is_no_problem(seed: int) -> None:
    """Between any two steps, sessions are opened, closed and looked at."""
    random, scene, numbers = Random(seed), Scene(entries=16 * 256), iter(range(60_000))
    alive: list[int] = []
    for _ in range(3):
        check = ConsistencyCheck(scene.inside, 0)
        found: Consistency | None = None
        while found is None:
            what = random.random()
            if what < 0.5 and scene.kernel.is_open and scene.kernel.ready:
                alive.append(scene.opens(next(numbers)))
            elif what < 0.8 and alive:
                scene.moves(alive.pop(random.randrange(len(alive))), TcpState.TIME_WAIT)
            elif what < 0.9:
                scene.world.now += HANDSHAKE_MS / 1000
                scene.inside.by_state.now = scene.world.now
                scene.world.shard.reconcile(1000, scene.world.now)
                alive.clear()
            found = check.step()
        assert found.problems == []


def test_without_a_lane_there_are_ports_all_the_same() -> None:
    world = World(plan(with_udp=True), fullnat_lport_min=5000, fullnat_lport_max=5099)
    world.client.connects(C0, R0)
    found = consistency_of(world.inside)
    assert (found.wrong, found.entries, found.flows) == (0, {"used": 0, "without_client": 0, "free": 0}, 0)
    assert found.held == {"192.0.2.101:8080": {"in_use": 1, "ready": 0, "young": 0, "resting": 0}}
    assert found.free == 99
    (session,) = world.sessions()
    world.inside.local_ports("tcp").release(session.local_address, session.real_server.endpoint, session.local_port, 1)
    assert len(consistency_of(world.inside).problems) == 2
