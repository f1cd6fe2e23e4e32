"""A client's SYN waits in the queue of its shard, and comes again: whoever judges a copy first opens the session, the shard or
the kernel (`sessions.lane_flows`)."""

import pytest

from appliance.ipc.lane_layout import FIRST_RESERVATION
from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.state.lane_entry import flow_of_segment
from appliance.wire.segment import Segment
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.endpoints import check_endpoints, consistency_of
from tests.support.lane_maps import FakeMaps
from tests.support.lane_scene import only
from tests.support.proxied import asks, opens, proves
from tests.support.segments import tcp
from tests.support.short_lived_scene import Scene, syn_of
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import World, plan

RESTS_S = 40.0


@pytest.fixture
def scene() -> Scene:
    """The kernel may open sessions, and flows come and go when they are published."""
    scene = Scene()
    scene.world.shard.gather_flows()
    return scene


def flow(number: int) -> bytes:
    return flow_of_segment(Segment.parse(syn_of(number)).key)


def opens_beside(scene: Scene, monkeypatch: pytest.MonkeyPatch, syn: bytes) -> None:
    """The kernel opens a session for this SYN when the shard has just found that there is none."""
    add_flow = scene.world.maps.add_flow

    def late(flow: bytes, value: int) -> bool:
        monkeypatch.setattr(scene.world.maps, "add_flow", add_flow)
        assert scene.kernel.put(syn)
        return add_flow(flow, value)

    monkeypatch.setattr(scene.world.maps, "add_flow", late)


def test_the_kernel_opens_none_while_the_shard_has_not_published_its_own(scene: Scene) -> None:
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    assert not scene.kernel.put(syn_of(1)), "it goes up"
    scene.world.shard.publish_flows()
    assert scene.world.maps.table[flow(1)] == 2 * (only(scene.world).entry or 0)
    assert not scene.inside.lane.flows.reserved
    check_endpoints(scene.inside)
    assert scene.conns() == 1


@pytest.mark.parametrize("rested", [False, True], ids=["by a ticket", "on an endpoint that has rested"])
def test_the_shard_opens_none_when_the_kernel_has_just_done_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, rested: bool
) -> None:
    if rested:
        scene.is_over(*range(100, 140))
        scene.take_over_and_look()
        scene.look(RESTS_S)
        scene.inside.prepared.miss(scene.service)
        scene.look()
    before, young = scene.conns(), scene.short.young
    opens_beside(scene, monkeypatch, syn_of(1))
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    session = only(scene.world)
    assert scene.world.maps.table[flow(1)] == 2 * (session.entry or 0)
    scene.look()
    assert (scene.conns() - before, scene.short.young - young) == (1, 0), "one session, and its SYN once more"
    assert session.state == TcpState.SYN_RECV


@pytest.mark.parametrize("first", ["shard", "kernel"])
def test_a_client_whose_syn_waits_and_comes_again_gets_the_numbers_of_one_real_server(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    if first == "kernel":
        opens_beside(scene, monkeypatch, syn_of(1))
    scene.world.put(syn_of(1))
    if first == "shard":
        scene.kernel.put(syn_of(1))
    scene.world.shard.publish_flows()
    asked = {packet[12:24] for packet in scene.world._on_the_wire}
    assert len(asked) == 1


def test_one_that_is_refused_leaves_nothing() -> None:
    world = prepared_world(conn_max=1)
    assert world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    assert world.put(syn_of(2)) is verdicts.TABLE_FULL
    assert flow(2) not in world.maps.table
    check_endpoints(world.inside)


def test_one_for_which_the_lane_has_no_entry_keeps_its_flow_while_it_is_half_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client sends the SYN again, and would go on with whoever answers."""
    scene = Scene()
    world = scene.world
    monkeypatch.setattr(world.inside.lane.entries, "take", lambda *_: None)
    world.client.sends("S", seq=C0, options=LINUX_SYN)
    (reserved,) = world.inside.lane.flows.reserved
    assert world.maps.outside[0]
    assert not scene.kernel.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)), "it goes up"
    world.rs.gets("S", seq=C0)
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA", seq=R0, ack=C0 + 1)
    assert reserved in world.maps.table
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert (world.state(), reserved in world.maps.table) == ("ESTABLISHED", False)
    check_endpoints(world.inside)


def test_one_whose_flows_have_not_come_keeps_its_flow_when_its_client_goes_on(scene: Scene) -> None:
    scene.world.client.connects(C0, R0)
    (reserved,) = scene.inside.lane.flows.reserved
    assert (scene.world.state(), reserved in scene.world.maps.table) == ("ESTABLISHED", True)
    scene.world.shard.publish_flows()
    check_endpoints(scene.inside)


@pytest.mark.parametrize("ends", [True, False], ids=["it ends", "its real server answers"])
def test_one_for_which_the_lane_has_no_entry_leaves_nothing(monkeypatch: pytest.MonkeyPatch, *, ends: bool) -> None:
    world = prepared_world(plan(synproxy="always"))
    monkeypatch.setattr(world.inside.lane.entries, "take", lambda *_: None)
    if ends:
        proves(world)
        world.inside.end(only(world), EndReason.EXPIRED)
    else:
        opens(world)
    assert not world.maps.table
    assert not world.inside.lane.flows.reserved


def test_one_for_whose_flows_there_is_no_room_leaves_nothing() -> None:
    world = prepared_world(maps=FakeMaps(room=3))
    for number in (1, 2):
        assert world.put(syn_of(number)) is verdicts.TO_REAL_SERVER
    assert flow(2) not in world.maps.table
    assert world.maps.outside[0]
    assert not world.inside.lane.flows.reserved
    check_endpoints(world.inside)


def test_one_that_ends_before_its_flows_have_come_leaves_nothing(scene: Scene) -> None:
    scene.world.put(syn_of(1))
    scene.inside.end(only(scene.world), EndReason.CUT)
    scene.world.shard.publish_flows()
    assert flow(1) not in scene.world.maps.table
    check_endpoints(scene.inside)


def test_a_client_whose_session_has_just_ended_gets_another(scene: Scene) -> None:
    """Its flow is still there, and goes first."""
    scene.world.put(syn_of(1))
    scene.world.shard.publish_flows()
    scene.inside.end(only(scene.world), EndReason.CUT)
    assert flow(1) in scene.world.maps.table
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    assert not scene.kernel.put(syn_of(1))
    scene.world.shard.publish_flows()
    check_endpoints(scene.inside)


def test_a_flow_of_nobody_is_no_reason_to_refuse_a_client(scene: Scene) -> None:
    scene.world.maps.table[flow(1)] = 2 * 999
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    scene.world.shard.publish_flows()
    check_endpoints(scene.inside)


@pytest.mark.parametrize(("entries", "prepared"), [(4096, 0), (0, 1)], ids=["nothing is prepared", "without a lane"])
def test_nothing_is_reserved_where_the_kernel_opens_no_sessions(
    entries: int, prepared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = prepared_world(maps=FakeMaps(entries), prepared_admissions=prepared)
    monkeypatch.setattr(world.maps, "add_flow", lambda *_: pytest.fail("it was reserved"))
    assert world.put(syn_of(1)) is verdicts.TO_REAL_SERVER


def test_the_kernel_opens_none_while_the_shard_waits_for_a_real_server() -> None:
    """A late copy of the client's SYN comes meanwhile, when its service sends no cookies any more."""
    world = prepared_world(plan(synproxy="always"))
    cookie = proves(world)
    (reserved,) = world.inside.lane.flows.reserved
    assert world.maps.table[reserved] == 2 * world.inside.lane.flows.reservation
    check_endpoints(world.inside)
    assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.HELD, "the client's packets come up"


def test_when_it_has_answered_the_flows_are_those_of_the_session() -> None:
    world = prepared_world(plan(synproxy="always"))
    opens(world)
    assert not world.inside.lane.flows.reserved
    assert only(world).entry is not None
    check_endpoints(world.inside)


def test_when_it_does_not_answer_nothing_is_left() -> None:
    world = prepared_world(plan(synproxy="always"))
    proves(world)
    world.inside.end(only(world), EndReason.EXPIRED)
    assert not world.maps.table
    check_endpoints(world.inside)


def test_a_cookie_whose_copy_the_kernel_has_just_taken_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a packet of the session that there is now; the kernel has counted the cookie."""
    world = prepared_world(plan(synproxy="always"))
    has = iter((False, True))
    monkeypatch.setattr(world.inside.prepared, "has", lambda *_: next(has))
    monkeypatch.setattr(world.inside.lane, "reserve", lambda _: False)
    judged = list[object]()

    def conclude(outcome: object, _: float) -> Verdict:
        judged.append(outcome)
        return verdicts.HELD

    cookie = asks(world).seq
    monkeypatch.setattr(world.shard, "_conclude", conclude)
    world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"GET")
    assert [type(outcome) for outcome in judged] == [bytes]
    assert world.counter("synproxy_ok_ack") == 0
    assert not world.sessions()


def test_what_a_worker_has_reserved_ends_with_it() -> None:
    world = prepared_world(plan(synproxy="always"))
    proves(world)
    others = 2 * (FIRST_RESERVATION + 7)
    world.maps.table[flow(7)] = others
    world.inside.lane.entries._parts.pop(7)
    assert not world.inside.lane.entries.may_own(others >> 1)
    world.restart()
    assert not [value for value in world.maps.table.values() if value >> 1 == world.inside.lane.flows.reservation]


def test_one_that_is_reserved_for_nobody_is_found(scene: Scene) -> None:
    scene.world.put(syn_of(1))
    scene.world.maps.table[flow(2)] = 2 * scene.inside.lane.flows.reservation
    found = consistency_of(scene.inside)
    assert (found.wrong, found.problems) == (1, ["shard 0: a flow is reserved for no session"])


def prepared_world(scene: Plan | None = None, maps: FakeMaps | None = None, **tunables: int) -> World:
    return World(scene or plan(weights=(1, 1)), maps or FakeMaps(), **{"prepared_admissions": 1, **tunables})
