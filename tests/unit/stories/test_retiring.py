"""Sessions of the tables that are over, on a busy service: their endpoints come to rest with those of the others."""

from dataclasses import replace

import pytest

from appliance.ipc.admission_layout import REST_NS
from appliance.ipc.queries import ROWS, Query
from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from appliance.sessions import pools
from appliance.sessions.retiring import _AT_ONCE, _NOT_BEHIND_A_LOOK_S
from appliance.sessions.short_lived import _READ_EVERY_S
from appliance.state.lane_entry import CELLS, HELD_CELL
from appliance.state.session import Session
from appliance.state.session_phases import Challenge
from appliance.wire.seq import add
from tests.support.addresses import CLIENT_ADDRESS, LIP1, LIP2, R0
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.short_lived_scene import BUSY, SENT_BYTES, Scene, packet_of, syn_of

REST_S = REST_NS / 1e9
AT_REST, OURS = 10, 50
"""Those that rest at first, and the number of the client whose session is in the tables."""


def with_pools(scene: Scene | None = None) -> Scene:
    """Each real server has a pool, in which some rest."""
    scene = scene or Scene()
    scene.is_over(*range(AT_REST))
    scene.take_over_and_look()
    assert (scene.short.resting, len(scene.inside)) == (AT_REST, 0)
    return scene


def open_in_tables(scene: Scene, number: int = OURS) -> Session:
    """A session of the tables that is open, in the kernel's hands."""
    entry = scene.opens(number)
    scene.moves(entry, TcpState.ESTABLISHED)
    scene.inside.prepared.take_in_all()
    session = scene.inside.lane.entries.owner(entry)
    assert session is not None
    return session


def closed_by_kernel(scene: Scene, session: Session, state: TcpState = TcpState.TIME_WAIT, *, acknowledged: bool = True) -> int:
    """The kernel has carried its last packets; returns its entry."""
    entry = session.entry
    assert entry is not None
    scene.moves(entry, state, acknowledged=acknowledged)
    scene.world.maps.changed[entry] = 1
    return entry


def look_twice(scene: Scene) -> None:
    """What the kernel has moved is taken over, and behind that it is read what happened."""
    scene.look()
    scene.look(_READ_EVERY_S)


@pytest.mark.parametrize("state", [TcpState.TIME_WAIT, TcpState.CLOSE])
def test_its_endpoint_comes_to_rest_and_all_figures_stay(state: TcpState) -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    conns, client = scene.conns(), f"{CLIENT_ADDRESS}:{1024 + OURS}"
    entry = closed_by_kernel(scene, session, state)
    look_twice(scene)
    assert len(scene.inside) == scene.inside.sources["tcp"].in_use == 0
    assert entry in scene.short._resting.tickets
    assert scene.world.by_state() == {"time_wait": AT_REST + 1}
    assert (scene.conns(), scene.world.shared.session_counts[0]) == (conns, AT_REST + 1)
    assert sum(scene.world.destination(slot)["inactive_conns"] for slot in (0, 1)) == AT_REST + 1
    assert [row.state for row in scene.world.rows() if row.client == client] == ["TIME_WAIT"]


def test_its_timer_is_gone_and_it_is_over_when_those_at_rest_are() -> None:
    scene = with_pools()
    closed_by_kernel(scene, open_in_tables(scene))
    look_twice(scene)
    scene.world.now += scene.inside.tunables.timeouts_s[TcpState.TIME_WAIT] + 1
    while scene.world.shard.on_tick(scene.world.now, 1000):
        pass
    scene.look()
    assert (scene.short.resting, scene.world.counter("sessions_expired")) == (0, AT_REST + 1)


def test_its_endpoint_goes_to_a_later_client() -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    server_key = session.server_key
    closed_by_kernel(scene, session)
    look_twice(scene)
    scene.look(REST_S)
    for number in range(1000, 1000 + 2 * BUSY):
        if not scene.kernel.ready:
            scene.look()
        scene.opens(number)
    scene.inside.prepared.take_in_all()
    assert server_key in {each.server_key for each in scene.world.sessions()}
    check_endpoints(scene.inside)


def test_a_late_packet_brings_it_back_as_it_was() -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    conns = scene.conns()
    entry = closed_by_kernel(scene, session)
    look_twice(scene)
    record = scene.world.maps.record(entry)
    late = tcp(record.real_server.packed, record.local.packed, "FA", seq=R0, ack=add(record.isn, 1 + SENT_BYTES + 1))
    assert scene.world.put(late) is verdicts.TO_CLIENT
    (back,) = scene.world.sessions()
    assert (back.entry, back.state, back.server_key) == (entry, TcpState.TIME_WAIT, session.server_key)
    assert (back.client_key, back.client_isn, back.choice) == (session.client_key, session.client_isn, session.choice)
    assert scene.conns() == conns
    check_endpoints(scene.inside)


@pytest.mark.parametrize("why", ["is_open", "unacknowledged", "was_reset", "challenged", "held"])
def test_one_of_which_more_may_come_stays(why: str) -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    state = TcpState.FIN_WAIT if why == "is_open" else TcpState.TIME_WAIT
    entry = closed_by_kernel(scene, session, state, acknowledged=why != "unacknowledged")
    scene.look()
    if why == "was_reset":
        session.was_reset = True
    elif why == "challenged":
        session.challenge = Challenge(syn_of(OURS), 0, scene.world.now)
    elif why == "held":
        scene.cells[entry * CELLS + HELD_CELL] = 1
    scene.look(_READ_EVERY_S)
    assert scene.world.sessions() == [session]
    assert (session.entry, scene.short.resting) == (entry, AT_REST)


def test_one_that_began_anew_meanwhile_stays() -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    closed_by_kernel(scene, session)
    scene.look()
    assert scene.world.put(packet_of(OURS, "S", seq=1 << 20)) is verdicts.TO_REAL_SERVER
    scene.look(_READ_EVERY_S)
    assert (session.state, scene.world.sessions()) == (TcpState.SYN_RECV, [session])


def test_one_that_ended_meanwhile_is_gone() -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    closed_by_kernel(scene, session)
    scene.look()
    scene.world.now += scene.inside.tunables.timeouts_s[TcpState.TIME_WAIT] + 1
    scene.inside.time_out(session, scene.world.now)
    scene.look(_READ_EVERY_S)
    assert not scene.world.sessions()
    assert session.entry is None


def test_where_there_are_no_pools_it_stays_in_the_tables() -> None:
    scene = Scene()
    session = open_in_tables(scene)
    closed_by_kernel(scene, session)
    look_twice(scene)
    assert scene.world.sessions() == [session]
    assert not scene.inside.lane.over, "nor does anybody remember it"


@pytest.mark.parametrize("what", ["address", "port"])
def test_one_between_ends_that_are_not_given_out_any_more_stays(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    if what == "port":
        low = 20_000 if session.local_port < 20_000 else 5_000
        scene.world.shared.set_tunables({"fullnat_lport_min": low, "fullnat_lport_max": low + 9_999})
        scene.world.shard.on_tick(scene.world.now, 10)
    else:
        monkeypatch.setattr(scene.inside.changes, "settle_some", lambda: False)  # nobody has reset its session yet
        (service,) = scene.world.plan.services
        left = next(str(each) for each in (LIP1, LIP2) if each.packed != session.local_address)
        scene.world.shard.change_services([replace(service, local_addresses=(left,))])
    for _ in range(BUSY):
        scene.inside.prepared.miss(scene.service)
    scene.look()
    scene.is_over(*range(100, 100 + AT_REST))
    scene.take_over_and_look()
    assert len(scene.short._resting.pools) == 2
    closed_by_kernel(scene, session)
    look_twice(scene)
    assert session.server_key not in {each.session.server_key for each in scene.short._resting.tickets.values()}


def test_nobody_retires_while_somebody_walks_through_all_sessions() -> None:
    scene = with_pools()
    clients = set[str]()
    sessions = [open_in_tables(scene, number) for number in range(OURS, OURS + 40)]
    walk = scene.world.walk(Query(ROWS))
    for session in sessions:
        closed_by_kernel(scene, session)
    scene.look()
    for piece in walk:
        clients.update(row.client for row in piece.items)
        scene.look(_READ_EVERY_S)
    assert len(clients) == AT_REST + len(sessions)
    assert scene.short.resting == AT_REST
    scene.look(_NOT_BEHIND_A_LOOK_S)
    assert scene.short.resting == AT_REST + len(sessions)


@pytest.mark.parametrize("limit", ["of_a_pool", "of_the_shard"])
@pytest.mark.parametrize("have_rested", [True, False])
def test_where_there_is_no_room_those_that_have_rested_longest_go(
    limit: str, have_rested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = with_pools()
    session = open_in_tables(scene)
    pool = scene.short._resting.pools[session.real_server]
    if limit == "of_a_pool":
        monkeypatch.setattr(pools, "MOST_IN_POOL", pool.size)
    else:
        scene.short._most = AT_REST
    closed_by_kernel(scene, session)
    scene.look(REST_S if have_rested else 0)
    scene.look(_READ_EVERY_S)
    assert scene.short.resting == AT_REST
    assert (session.entry is None) == have_rested
    assert scene.world.counter("time_wait_ports_taken") == have_rested
    check_endpoints(scene.inside)


def test_a_look_lets_some_of_many_retire_and_the_next_one_goes_on() -> None:
    scene = with_pools()
    many = range(OURS, OURS + _AT_ONCE + 20)
    while len(scene.inside) < len(many):
        number = OURS + len(scene.inside)
        if not scene.kernel.ready:
            scene.look()
        open_in_tables(scene, number)
    for session in scene.world.sessions():
        closed_by_kernel(scene, session)
    scene.look()
    scene.inside.by_state.now = scene.world.now = scene.world.now + _READ_EVERY_S
    scene.inside.prepared.look(scene.world.now)
    assert scene.short.resting == AT_REST + _AT_ONCE
    scene.look()
    assert scene.short.resting == AT_REST + len(many)
