"""Services that choose by the client's address, whose sessions the kernel opens by itself (`sessions.spares`)."""

from dataclasses import replace

import pytest

from appliance.ipc.admission_layout import REST_NS
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.nat.isn import LEAST_STEP, STEP_RANGE
from appliance.policy.schedulers.maglev_table import USUAL_PLACES
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.sessions.readiness import LEAST_RATE
from appliance.state.progress import RS_ACKED
from appliance.wire.flow import flow_key
from appliance.wire.seq import add
from tests.support.addresses import VIP
from tests.support.by_client_scene import CLIENTS, ENTRIES, client, opened, until_scheduled
from tests.support.candidates import setup
from tests.support.segments import tcp
from tests.support.short_lived_scene import BUSY, Scene
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import plan

REST_S = REST_NS / 1e9
PLACES, LARGE = 509, 8191


def scene_of(scheduler: str = "sh", weights: tuple[int, ...] = (1, 3), places: int = PLACES, **tunables: int) -> Scene:
    """A service whose schedule the kernel has."""
    usual = plan(weights=weights)
    service = replace(usual.services[0], scheduler=scheduler, maglev_table=places)
    scene = Scene(replace(usual, services=(service,)), entries=ENTRIES, **tunables)
    until_scheduled(scene)
    return scene


def chosen(scene: Scene, scheduler: str, number: int) -> bytes:
    """The endpoint to which Python sends a client."""
    made = SCHEDULERS[scheduler](setup(places=PLACES)) if scheduler == "sh" else scene.service.scheduler
    picked = made.pick(scene.service.candidates, flow_key(client(number), VIP), 0.0)
    assert picked is not None
    return picked.endpoint


@pytest.mark.parametrize(("scheduler", "places"), [("sh", PLACES), ("mh", PLACES), ("mh", USUAL_PLACES)])
def test_each_client_goes_where_python_sends_it_and_all_books_have_it(scheduler: str, places: int) -> None:
    scene = scene_of(scheduler, places=places)
    entries = {number: opened(scene, number) for number in CLIENTS}
    taken = {number: entry for number, entry in entries.items() if entry is not None}
    assert len(taken) > len(CLIENTS) // 2
    for number, entry in taken.items():
        assert scene.world.maps.record(entry).real_server.packed == chosen(scene, scheduler, number)
    assert len({chosen(scene, scheduler, number) for number in CLIENTS}) == 2
    scene.look()
    assert (scene.short.young, scene.conns(), scene.kernel.ready) == (len(taken), len(taken), 0)
    assert scene.world.by_state() == {"established": len(taken)}


def test_a_large_table_is_written_anew_after_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is only one: what a schedule had before is free for the next one."""
    monkeypatch.setattr("appliance.sessions.lookup_tables.LOOKUP_TABLES", 1)
    scene = scene_of("mh", places=LARGE)
    for turn, drained in enumerate(((0,), (), (1,))):
        scene.world.shard.change_drained(drained)
        assert [opened(scene, number) for number in CLIENTS] == [None] * len(CLIENTS)
        scene.look()
        until_scheduled(scene)
        entries = {number: opened(scene, number, 41000 + turn) for number in CLIENTS}
        taken = {number: entry for number, entry in entries.items() if entry is not None}
        assert taken
        for number, entry in taken.items():
            assert scene.world.maps.record(entry).real_server.packed == chosen(scene, "mh", number)


def test_the_table_of_a_ring_is_free_when_its_service_has_another_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.sessions.lookup_tables.LOOKUP_TABLES", 1)
    scene = scene_of("mh", places=LARGE)
    (service,) = scene.world.plan.services
    servers = tuple(replace(server, slot=server.slot + 2) for server in service.real_servers)
    first = replace(service, name="before", scheduler="rr", port=81, real_servers=servers)
    scene.world.shard.change_services((first, service))
    for _ in range(BUSY):
        scene.inside.prepared.miss(scene.service)
    until_scheduled(scene)
    assert [ring.number for ring in scene.inside.prepared.rings if ring.has_schedule] == [1]


def test_without_a_table_left_all_clients_go_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.sessions.lookup_tables.LOOKUP_TABLES", 0)
    with pytest.raises(pytest.fail.Exception, match="no schedule"):
        scene_of("mh", places=LARGE)
    scene_of("mh")


def test_an_endpoint_goes_round_among_the_clients_of_its_real_server() -> None:
    scene = scene_of()
    first = {entry: number for number in CLIENTS if (entry := opened(scene, number)) is not None}
    for entry in first:
        scene.moves(entry, TcpState.TIME_WAIT)
    scene.take_over_and_look()
    assert scene.short.resting == len(first)
    last = {entry: scene.inside.lane.words(entry)[RS_ACKED] for entry in first}
    scene.look(REST_S)
    again = set[int]()
    for turn in range(200):
        for number in CLIENTS:
            entry = opened(scene, number, 41000 + turn)
            if entry is None:
                continue
            record = scene.world.maps.record(entry)
            assert record.real_server.packed == chosen(scene, "sh", number)
            if entry in last and entry not in again:
                assert LEAST_STEP <= add(record.isn, -last[entry]) < LEAST_STEP + STEP_RANGE
                again.add(entry)
        scene.look(0.01)
        if again == set(first):
            return
    pytest.fail("some are not used again")


def test_the_number_of_a_spare_endpoint_lies_beyond_the_last_one_on_its_port() -> None:
    scene = scene_of(fullnat_lport_min=10000, fullnat_lport_max=10063)
    first = {entry for number in CLIENTS if (entry := opened(scene, number)) is not None}
    for entry in first:
        scene.moves(entry, TcpState.TIME_WAIT)
    scene.take_over_and_look()
    lane = scene.inside.lane
    last = {ticket.session.leaving_key(0): lane.words(ticket.entry)[RS_ACKED] for ticket in scene.short.at_rest()}
    assert len(last) == len(first)
    for real_server in scene.service.real_servers:
        scene.short.free_for(real_server)
    scene.look(0.01)
    spares = {ticket.session.leaving_key(0): ticket for ticket in scene.short.spares.tickets.values()}
    assert last.keys() <= spares.keys(), "all ports are spare"
    for key, ticket in spares.items():
        assert lane.words(ticket.entry)[RS_ACKED] == last.get(key, ticket.session.isn)


def test_nothing_that_was_ready_is_handed_out_after_a_change() -> None:
    scene = scene_of()
    spares = len(scene.short.spares)
    assert spares > 0
    scene.world.shard.change_drained((0,))
    assert (len(scene.short.spares), scene.world.counter("tickets_returned")) == (0, spares)
    assert [opened(scene, number) for number in CLIENTS] == [None] * len(CLIENTS)
    scene.look()
    until_scheduled(scene)
    entries = [entry for number in CLIENTS if (entry := opened(scene, number)) is not None]
    assert entries
    (left,) = (server.endpoint for server in scene.service.real_servers if server.slot == 1)
    assert {scene.world.maps.record(entry).real_server.packed for entry in entries} == {left}


def test_a_spare_endpoint_that_came_to_nothing_is_free_again() -> None:
    scene = scene_of()
    scene.kernel.is_void = True
    assert opened(scene, 1) is None
    scene.kernel.is_void = False
    before = scene.world.counter("tickets_returned")
    scene.look()
    assert scene.world.counter("tickets_returned") == before + 1
    assert not len(scene.inside)


def test_none_are_spare_once_few_clients_come() -> None:
    scene = scene_of()
    (ring,) = scene.inside.prepared.rings
    ring.rate = LEAST_RATE / 2
    scene.look(0.01)
    assert (len(scene.short.spares), ring.allowed) == (0, 0)


def test_a_syn_that_goes_up_gets_the_same_real_server_from_python() -> None:
    scene = scene_of()
    scene.world.shard.change_drained(())
    (ring,) = scene.inside.prepared.rings
    scene.inside.prepared.take_back_of(ring)
    for number in CLIENTS:
        syn = tcp(client(number), VIP, "S", seq=number, options=LINUX_SYN)
        assert not scene.kernel.put(syn)
        assert scene.world.shard.handle(syn, scene.world.now) is TO_REAL_SERVER
    found = {session.client_key[:4]: session.real_server.endpoint for session in scene.world.sessions()}
    assert found == {client(number)[:4]: chosen(scene, "sh", number) for number in CLIENTS}


def test_spare_endpoints_take_no_local_port_from_a_session() -> None:
    scene = scene_of(fullnat_lport_min=10000, fullnat_lport_max=10063)
    spares = len(scene.short.spares)
    assert spares == sum(pool.size for _, _, pool in scene.inside.local_ports("tcp")), "they have all ports"
    syn = tcp(client(1), VIP, "S", seq=1, options=LINUX_SYN)
    assert scene.world.shard.handle(syn, scene.world.now) is TO_REAL_SERVER
    assert not scene.short.spares


def test_sessions_and_packets_of_a_spare_endpoint_just_taken_are_known() -> None:
    """A client sends its SYN again before the shard has looked."""
    scene = scene_of()
    assert opened(scene, 1) is not None
    syn = tcp(client(1), VIP, "S", seq=1, options=LINUX_SYN)
    assert scene.world.shard.handle(syn, scene.world.now) is TO_REAL_SERVER
    (session,) = scene.world.sessions()
    assert session.client_key[:4] == client(1)[:4]
    scene.look()
    assert scene.conns() == 1
