"""Prepared admissions as a shard sees them: the kernel opens sessions, and they are sessions like all others."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from appliance.ipc.admission_layout import RING_PLACES
from appliance.ipc.plan import Plan
from appliance.ipc.syn_options import SYN_OPTIONS_BYTES
from appliance.model import verdicts
from appliance.policy.steering import shard_table
from appliance.shard.shard import Shard
from appliance.wire.flow import pack_endpoint
from appliance.wire.layout import ADDRESSES_START
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, R0, VIP, VIP_ADDRESS
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.segments import read_tcp, tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460
from tests.support.ticket_kernel import TicketKernel
from tests.support.world import World, plan

SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)


class Scene:
    """A world whose shard prepares admissions."""

    def __init__(self, scene: Plan | None = None, **tunables: int) -> None:
        self.world = World(scene or plan(weights=(1, 1)), FakeMaps(), **{"prepared_admissions": 1, **tunables})
        self.kernel = TicketKernel(self.world)

    def prepare(self, missed: int = 1) -> int:
        """Have some ready, as behind SYNs that came up; returns how many."""
        inside = self.world.inside
        service = inside.service("tcp", VIP)
        assert service is not None
        for _ in range(missed):
            inside.prepared.miss(service)
        self.look()
        return self.kernel.ready

    def look(self) -> None:
        while self.world.shard.reconcile(1000, self.world.now):
            pass
        self.world._collect_segments()

    def servers(self) -> list[int]:
        """The real servers of all sessions, oldest first."""
        self.look()
        return [session.real_server.slot for session in self.world.sessions()]

    def opens(self, number: int) -> bool:
        return self.kernel.put(syn_of(number))


def syn_of(number: int) -> bytes:
    return tcp(pack_endpoint(CLIENT_ADDRESS + number // 60000, 1024 + number % 60000), VIP, "S", seq=number, options=LINUX_SYN)


def test_the_kernel_is_not_asked_for_the_sake_of_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were taken are known without a system call, which a flood of packets of no session would cost one by one."""
    scene = Scene()
    assert scene.prepare()
    monkeypatch.setattr(scene.world.maps, "value_of", lambda _: pytest.fail("it was asked"))
    assert scene.world.put(tcp(CLIENT, VIP, "A", seq=C0, ack=R0)) is verdicts.NO_SESSION


def test_a_connection_that_the_kernel_has_opened_goes_on_as_any_other() -> None:
    scene = Scene()
    scene.prepare()
    world = scene.world
    world.client.isn = C0
    assert scene.kernel.put(SYN)
    (row,) = world.rows()
    assert (row.state, row.client, row.in_lane) == ("SYN_RECV", f"{CLIENT_ADDRESS}:40000", True)
    world.rs.gets("S", seq=C0)
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA", seq=R0, ack=C0 + 1)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    scene.look()
    assert world.state() == "ESTABLISHED"
    world.client.sends("R", seq=C0 + 1)
    assert world.state() == "CLOSE"


@pytest.mark.parametrize("toa", [0, 1])
@pytest.mark.parametrize("remove", [0, 1])
@pytest.mark.parametrize("options", [LINUX_SYN, MSS_1460, b""])
def test_its_syn_is_sent_again_with_its_options_when_an_older_connection_answers(toa: int, remove: int, options: bytes) -> None:
    """As the real server got it: with size, scale, SACK and the client's address."""
    scene = Scene(fullnat_toa_entry=toa, fullnat_timestamp_remove_entry=remove)
    scene.prepare()
    world = scene.world
    assert scene.kernel.put(tcp(CLIENT, VIP, "S", seq=C0, options=options, window=65535))
    first = world.rs.gets("S")
    assert world.rs.sends("A", seq=5, ack=777 - world.rs.shift) is verdicts.STALE_ANSWER
    reset = read_tcp(world.take(world.rs.here))
    assert (reset.flags, reset.seq) == ("R", 777)
    assert world.rs.gets("S").raw[ADDRESSES_START:] == first.raw[ADDRESSES_START:]
    world.sleep(0.4)
    assert world.rs.gets("S").raw[ADDRESSES_START:] == first.raw[ADDRESSES_START:], "once more, for it may have been lost"


def test_a_syn_with_more_options_than_can_be_kept_goes_up() -> None:
    scene = Scene()
    scene.prepare()
    fits = LINUX_SYN + b"\1" * (SYN_OPTIONS_BYTES - len(LINUX_SYN))
    assert not scene.kernel.put(tcp(CLIENT, VIP, "S", seq=C0, options=fits + b"\1" * 4))
    assert scene.kernel.put(tcp(CLIENT, VIP, "S", seq=C0, options=fits))


def test_it_counts_as_one_that_its_syn_has_opened() -> None:
    """In all books: the same figures as behind a SYN in Python, and again when it is over."""
    scene, other = Scene(), World(plan(weights=(1, 1)), FakeMaps())
    scene.prepare()
    scene.kernel.put(SYN)
    scene.look()
    other.put(SYN)
    for slot in (0, 1):
        kernel, python = scene.world.destination(slot), other.destination(slot)
        for name in ("in_packets", "in_bytes"):  # the program counts these
            assert kernel.pop(name) == 0
            python.pop(name)
        assert kernel == python
    assert scene.world.by_state() == other.by_state() == {"syn_recv": 1}
    assert list(scene.world.shared.session_counts) == list(other.shared.session_counts) == [1]
    inside = scene.world.inside
    assert inside.sources["tcp"].most == 1
    service = inside.service("tcp", VIP)
    assert service is not None
    assert len(service.half_open) == 1
    scene.world.shard.change_drained(())
    scene.world.shared.set_tunables({"prepared_admissions": 0})
    scene.world.sleep(200)
    scene.world.assert_empty()


def test_a_syn_that_comes_again_meets_its_session() -> None:
    """Before the shard has looked at what the kernel did."""
    scene = Scene()
    scene.prepare()
    scene.kernel.put(SYN)
    assert scene.world.put(SYN) is verdicts.TO_REAL_SERVER
    assert len(scene.world.sessions()) == 1
    assert scene.world.destination(0)["conns"] + scene.world.destination(1)["conns"] == 1


def test_a_refusal_of_the_real_server_meets_its_session() -> None:
    scene = Scene()
    scene.prepare()
    scene.world.client.isn = C0
    scene.kernel.put(SYN)
    scene.world.rs.gets("S", seq=C0)
    scene.world.rs.sends("RA", seq=0, ack=C0 + 1)
    scene.world.client.gets("RA", ack=C0 + 1)
    assert sum(scene.world.destination(slot)["refused_conns"] for slot in (0, 1)) == 1


def test_a_real_server_that_does_not_answer_is_counted_as_silent() -> None:
    scene = Scene()
    scene.prepare()
    scene.kernel.put(SYN)
    scene.world.sleep(1)
    scene.world.put(SYN)
    assert sum(scene.world.destination(slot)["unanswered_conns"] for slot in (0, 1)) == 1


@pytest.mark.parametrize(("scheduler", "weights", "shares"), [("rr", (1, 1), (60, 60)), ("wrr", (1, 3), (30, 90))])
def test_shares_are_exact_whoever_opens(scheduler: str, weights: tuple[int, int], shares: tuple[int, int]) -> None:
    """Also when some were taken back, and others were opened by SYNs that came up."""
    scene_plan = plan(weights=weights)
    (service,) = scene_plan.services
    scene = Scene(replace(scene_plan, services=(replace(service, scheduler=scheduler),)))
    number = 0
    for turn in range(40):
        scene.prepare()
        if turn % 3 == 0:
            scene.world.inside.prepared.take_back()
        elif turn % 7 == 0:
            scene.world.shared.set_tunables({"tcp_timeout_established": 900_000 + turn})
        for _ in range(3):
            if not scene.opens(number):
                scene.world.put(syn_of(number))
            number += 1
        scene.look()
    servers = scene.servers()
    assert (servers.count(0), servers.count(1)) == shares
    assert scene.world.counter("tickets_returned") > 100


def test_a_drained_real_server_gets_none_from_the_moment_it_is_drained() -> None:
    scene = Scene()
    assert scene.prepare() >= 16
    scene.world.shard.change_drained((0,))
    assert not scene.opens(1)
    scene.prepare()
    assert [scene.opens(number) for number in range(2, 8)] == [True] * 6
    assert set(scene.servers()) == {1}


@pytest.mark.parametrize("is_down", [True, False])
def test_nor_does_one_that_is_down_or_whose_weight_is_0(is_down: bool) -> None:
    scene = Scene()
    scene.prepare()
    if is_down:
        scene.world.shard.change_health((0,))
    else:
        scene.world.change(plan(weights=(0, 1)))
    assert scene.kernel.ready == 0
    scene.prepare()
    scene.opens(1)
    scene.opens(2)
    assert scene.servers() == [1, 1]


def test_nothing_is_handed_out_when_tunables_have_changed() -> None:
    """Not even before the shard knows of it; and afterwards all is by the new ones."""
    scene = Scene()
    scene.prepare()
    scene.world.shared.set_tunables({"fullnat_lport_min": 6000, "fullnat_lport_max": 6999})
    assert not scene.opens(1)
    scene.world.shard.on_tick(scene.world.now, 10)
    scene.prepare()
    assert scene.opens(1)
    scene.look()
    (session,) = scene.world.sessions()
    assert 6000 <= session.local_port <= 6999


def test_with_those_that_are_ready_the_backlog_is_never_exceeded() -> None:
    scene = Scene(tcp_max_syn_backlog=40)
    assert scene.prepare(100) == 40
    assert sum(scene.opens(number) for number in range(60)) == 40
    scene.look()
    assert scene.prepare(100) == 0
    scene.world.sleep(1)
    scene.world.put(syn_of(99))
    service = scene.world.inside.service("tcp", VIP)
    assert service is not None
    assert len(service.half_open) == 40
    assert scene.world.counter("backlog_dropped") == 1


def test_admissions_that_nobody_takes_give_way_to_a_syn_that_came_up() -> None:
    scene = Scene(tcp_max_syn_backlog=40)
    assert scene.prepare(100) == 40
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    assert scene.kernel.ready == 0
    assert scene.world.counter("backlog_dropped") == 0


@pytest.mark.parametrize("in_kernel", [0, 1])
def test_no_syn_gets_one_of_a_service_in_auto_while_it_sends_cookies(in_kernel: int) -> None:
    """There are some for clients that return theirs, when the kernel takes cookies back."""
    tunables = {"tcp_max_syn_backlog": 20, "synproxy_in_kernel": in_kernel}
    scene = Scene(plan(synproxy="auto", synproxy_defer=0), **tunables)
    assert scene.prepare(100) == 20
    for number in range(20):
        scene.opens(number)
    assert scene.world.put(syn_of(30)) is verdicts.COOKIE_SENT
    assert scene.prepare(100) == (20 if in_kernel else 0)
    assert not scene.kernel.put(syn_of(31))


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_while_all_syns_are_answered_with_cookies_they_are_for_those_who_return_theirs_to_the_kernel(mode: str) -> None:
    assert Scene(plan(synproxy=mode), tcp_syncookies=2, synproxy_in_kernel=0).prepare() == 0
    assert Scene(plan(synproxy=mode), tcp_syncookies=2, synproxy_in_kernel=1).prepare() > 0


@pytest.mark.parametrize(
    "tunables",
    [{"prepared_admissions": 0}, {"conn_max": 4096}, {"source_conn_max": 0, "conn_max": 5000}],
)
def test_where_a_limit_is_near_each_syn_comes_up(tunables: dict[str, int]) -> None:
    world = World(plan(), FakeMaps(), **{"prepared_admissions": 1, **tunables})
    service = world.inside.service("tcp", VIP)
    assert service is not None
    world.inside.prepared.miss(service)
    world.shard.reconcile(1000, world.now)
    assert TicketKernel(world).ready == 0


@pytest.mark.parametrize(("setting", "is_there"), [(1, False), (2, True)])
def test_where_rules_see_syns_before_the_appliance_each_syn_comes_up(setting: int, is_there: bool) -> None:
    """What is ready is taken back with the next packet, and nothing is prepared until they are gone, unless that is wanted."""
    scene = Scene(prepared_admissions=setting)
    shared = scene.world.shared
    assert scene.prepare() > 0
    shared.early_rules[0] = True
    shared.generation[0] += 1
    scene.world.put(syn_of(70))
    assert (scene.prepare(100) > 0) is is_there
    shared.early_rules[0] = False
    shared.generation[0] += 1
    scene.world.put(syn_of(71))
    assert scene.prepare() > 0


def test_a_source_network_gets_no_more_than_its_share() -> None:
    scene = Scene(source_conn_max=30)
    number = 0
    for _ in range(20):
        scene.prepare()
        for _ in range(4):
            if not scene.opens(number):
                scene.world.put(syn_of(number))
            number += 1
        scene.look()
        scene.world.now += 0.01
    assert len(scene.world.sessions()) == 30
    assert scene.world.counter("source_limit") == number - 30


def test_a_client_that_has_a_session_of_which_the_kernel_does_not_know_keeps_it() -> None:
    scene = Scene()
    scene.world.put(SYN)
    (session,) = scene.world.sessions()
    scene.world.inside.lane.hold(session)
    scene.world.inside.lane.leave(session)
    scene.prepare()
    ready = scene.kernel.ready
    assert scene.kernel.put(SYN)
    scene.look()
    assert scene.world.sessions() == [session]
    assert not scene.world.maps.table
    assert scene.world.counter("tickets_returned") == 1
    assert scene.kernel.ready >= ready - 1


def test_a_connection_that_is_over_makes_way_for_the_next_one_of_its_client() -> None:
    scene = Scene()
    world = scene.world
    world.client.connects(seq=C0)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.gets("FA")
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.client.gets("FA")
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)
    scene.look()
    (session,) = world.sessions()
    assert world.state() == "CLOSE"
    world.inside.lane.hold(session)
    world.inside.lane.leave(session)
    scene.prepare()
    assert scene.kernel.put(tcp(CLIENT, VIP, "S", seq=C0 + 99999, options=LINUX_SYN))
    assert world.state() == "SYN_RECV"
    assert world.counter("sessions_replaced") == 1


def test_one_that_came_to_nothing_is_free_again() -> None:
    scene = Scene()
    scene.prepare()
    scene.kernel.is_void = True
    assert not scene.opens(1)
    scene.look()
    scene.world.inside.prepared.take_back()
    assert not scene.world.sessions()
    assert not any(pool.in_use for _, _, pool in scene.world.inside.local_ports("tcp"))
    assert scene.world.inside.lane.entries.in_use == 0


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc"])
def test_near_the_last_local_port_none_is_left_when_some_syns_come_up(scheduler: str) -> None:
    """Those that come up get what comes before all that is ready, so both real servers are used to the last port."""
    low, ports, servers = 20_000, 60, 2
    made = plan(weights=(1, 1), local_addresses=("192.0.2.10",))
    scene = Scene(
        replace(made, services=(replace(made.services[0], scheduler=scheduler),)),
        fullnat_lport_min=low, fullnat_lport_max=low + ports - 1, fullnat_lport_tries=ports,
    )  # fmt: skip
    for number in range(ports * servers):
        if not number % 7 or not scene.opens(number):
            assert scene.world.put(syn_of(number)) is verdicts.TO_REAL_SERVER, number
        scene.prepare()
    assert Counter(scene.servers()) == {0: ports, 1: ports}
    assert scene.world.put(syn_of(ports * servers)) is verdicts.LOCAL_PORTS_EXHAUSTED


def test_local_ports_that_are_kept_ready_are_there_for_syns_that_come_up() -> None:
    low = 5000
    scene = Scene(plan(weights=(1,), local_addresses=("192.0.2.10",)), fullnat_lport_min=low, fullnat_lport_max=low + 19)
    assert scene.prepare(100) == 20
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    assert scene.kernel.ready == 0


def test_a_service_without_clients_has_nothing_ready() -> None:
    scene = Scene()
    assert scene.prepare() == 16
    scene.opens(1)
    for _ in range(1500):
        scene.world.now += 0.01
        scene.world.shard.reconcile(1000, scene.world.now)
    assert scene.kernel.ready == 0
    assert scene.world.inside.lane.entries.in_use == 1


def test_one_that_was_taken_when_a_service_had_become_idle_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two looks that `look` has at a ring."""
    scene = Scene()
    scene.prepare()
    prepared = scene.world.inside.prepared
    take_over, taken = prepared.take_over, list[bool]()

    def taken_behind_it(most: int) -> bool:
        found = take_over(most)
        for ring in prepared._active:
            ring.rate = 0.0
        taken.append(scene.opens(1))
        return found

    monkeypatch.setattr(prepared, "take_over", taken_behind_it)
    scene.world.shard.reconcile(1000, scene.world.now)
    monkeypatch.undo()
    assert taken == [True]
    assert len(scene.world.rows()) == 1


def test_all_services_together_have_no_more_ready_than_a_shard_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.sessions.prepared.MOST_READY_OF_SHARD", 24)
    one = plan(weights=(1,))
    (web,) = one.services
    (server,) = web.real_servers
    other = replace(web, name="other", port=81, real_servers=(replace(server, slot=1),))
    scene = Scene(replace(one, services=(web, other), destinations=2))
    prepared = scene.world.inside.prepared
    for port in (80, 81):
        service = scene.world.inside.service("tcp", pack_endpoint(VIP_ADDRESS, port))
        assert service is not None
        prepared.miss(service)
    for _ in range(3):
        scene.look()
        assert prepared._ready == 24, "and they stay there"
    assert scene.world.counter("tickets_returned") == 0


def test_no_more_are_ready_than_a_ring_holds() -> None:
    scene = Scene()
    assert scene.prepare(10_000) == RING_PLACES
    assert sum(scene.opens(number) for number in range(RING_PLACES + 5)) == RING_PLACES
    scene.look()
    scene.world.inside.prepared.take_in_all()
    assert len(scene.world.sessions()) == RING_PLACES
    assert scene.kernel.ready == RING_PLACES, "and once around"
    assert sum(scene.opens(1000 + number) for number in range(RING_PLACES)) == RING_PLACES
    scene.look()
    scene.world.inside.prepared.take_in_all()
    sessions = scene.world.sessions()
    assert len({session.server_key for session in sessions}) == len(sessions) == 2 * RING_PLACES
    scene.world.inside.prepared.take_back()
    check_lane(scene.world.inside.lane, scene.world.maps, sessions)


def test_the_next_worker_adopts_what_was_taken_and_hands_out_nothing_else() -> None:
    scene = Scene()
    scene.prepare()
    scene.opens(1)
    world = scene.world
    successor = Shard(world.plan, world.shared, world.now, world.maps)
    assert successor.adopt(world.now)[:3] == (1, 0, 0)
    assert not scene.opens(2)
    assert not any(pool.in_use > 1 for _, _, pool in successor._sessions.local_ports("tcp"))


def test_a_worker_that_ends_hands_out_nothing_any_more() -> None:
    scene = Scene()
    scene.prepare()
    scene.world.shard.close()
    assert not scene.opens(1)


def test_each_shard_has_a_ring_of_its_own_and_ports_of_its_own() -> None:
    world = World(plan(shard=1, shards=2), FakeMaps(), prepared_admissions=1)
    service = world.inside.service("tcp", VIP)
    assert service is not None
    world.inside.prepared.miss(service)
    world.shard.reconcile(100, world.now)
    assert TicketKernel(world, 0).ready == 0
    kernel = TicketKernel(world, 1)
    assert kernel.ready
    kernel.put(SYN)
    world.shard.reconcile(100, world.now)
    (session,) = world.sessions()
    assert shard_table(2)[session.local_port & 255] == 1


def test_the_order_of_local_ports_is_not_that_of_numbers() -> None:
    scene = Scene()
    scene.prepare(100)
    for number in range(100):
        scene.opens(number)
    scene.look()
    scene.world.inside.prepared.take_in_all()
    ports = [session.local_port for session in scene.world.sessions()]
    assert len({right - left for left, right in pairwise(ports)}) > 50
