"""Endpoints of proven clients go round in the real program: the next session has nothing of the one before, in any order."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from appliance.ipc.lane_layout import FLOW_BYTES, PROOFS
from appliance.ipc.session_record import OFFSETS, Flags, SessionRecord, decode
from appliance.ipc.stray_rule import StrayRule
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import HANDSHAKE_PACKET, HELD
from appliance.nat.isn import LEAST_STEP, STEP_RANGE
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import flows_in, state_in
from appliance.state.session import Session
from appliance.wire.flow import destination_of, pack_endpoint, source_of
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.gateway import connect_and_close as connect_plainly
from tests.kernel.gateway import later, ready_again, rest
from tests.kernel.lane import CARRIED, UP, Lane
from tests.kernel.proxied_gateway import DATA, USUAL, ProxiedGateway, check_like_python
from tests.kernel.proxied_gateway import clear_again as clear_again
from tests.support.addresses import CLIENT, CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460

OTHER = pack_endpoint(CLIENT_ADDRESS + 77, 54321)
BARE = SynOffer(536, None, sack=False)
UNSCALED = MSS_1460
"""The options of a real server that does not scale windows: then they move in both directions."""


class BusyGateway(ProxiedGateway):
    """One whose service is busy, so that its sessions may stay out of the tables."""

    def __init__(self, lane: Lane, **tunables: int) -> None:
        super().__init__(lane, defers=True, **tunables)
        self.prepare(20)

    def session(self) -> Session:
        self.world.inside.prepared.take_in_all()
        return super().session()

    def serves_plainly(self) -> None:
        """From now on the program opens sessions by SYNs."""
        self.lane.set_proven(VIP, None)
        self.lane.set_stray_rule(VIP, None)
        self.lane.set_admissions(VIP, 0)

    def serves_proven_clients(self) -> None:
        """From now on it opens them by cookies, as at first."""
        self.lane.set_admissions(VIP, None)
        self.lane.set_proven(VIP, 0)
        self.lane.set_stray_rule(VIP, StrayRule(cookies=True, defers=True, drops=False, reserved=0, allowance=0))

    def resting_entry(self) -> int:
        """The entry of the only endpoint that rests."""
        self.shard.reconcile(100, self.world.now)
        later(self, HANDSHAKE_MS / 1000)
        (entry,) = self.world.inside.prepared.short._resting.tickets
        return entry

    def is_next(self, entry: int) -> None:
        """The endpoint of this entry is the one that is used next."""
        ready_again(self, entry)
        check_endpoints(self.world.inside)


def connect_and_close(gateway: BusyGateway, client: bytes, offer: SynOffer = USUAL) -> Segment | None:
    """A whole connection of a proven client: the SYN as its real server gets it; None when the program has asked none."""
    proof = Segment.parse(gateway.proof(DATA, client, offer))
    raw = gateway.lane.pass_on(proof.raw, 0)[1]
    if raw == proof.raw:
        return None
    asked = Segment.parse(raw)
    local, rs, end = source_of(asked.key), destination_of(asked.key), add(asked.seq, 1 + len(DATA))
    for packet, direction in (
        (tcp(rs, local, "SA", seq=R0, ack=add(asked.seq, 1), options=UNSCALED), 1),
        (tcp(rs, local, "A", seq=R0 + 1, ack=end), 1),
        (tcp(rs, local, "FA", seq=R0 + 1, ack=end), 1),
        (tcp(client, VIP, "FA", seq=add(proof.seq, len(DATA)), ack=add(proof.ack, 1)), 0),
        (tcp(rs, local, "A", seq=R0 + 2, ack=add(end, 1)), 1),
    ):
        assert gateway.lane.pass_on(packet, direction)[0] == CARRIED
    return asked


def record_of(lane: Lane, entry: int) -> SessionRecord:
    return decode(lane.bytes_of(entry))


def test_a_proxied_session_that_is_over_gets_in_line_like_others(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    assert record_of(lane, entry).is_held
    assert not lane.proofs()
    assert not gateway.world.sessions()
    assert gateway.world.counter("sessions_short") == 1


@pytest.mark.parametrize("is_plain", [False, True])
def test_the_endpoint_serves_a_proven_client_as_one_that_was_never_used(lane: Lane, is_plain: bool) -> None:
    """Behind a proxied session with other windows, or behind a plain one."""
    gateway = BusyGateway(lane)
    if is_plain:
        gateway.serves_plainly()
        assert connect_plainly(lane, CLIENT)
        gateway.serves_proven_clients()
    else:
        assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    last = record_of(lane, entry).rs_acked
    gateway.is_next(entry)
    raw = gateway.proof(DATA, OTHER, BARE, isn=12345)
    asked = gateway.put(raw)
    assert {name: asked.counted.get(name) for name in ("proven", "endpoint_reused")} == {"proven": 1, "endpoint_reused": 1}
    check_endpoints(gateway.world.inside)
    record = gateway.record
    assert record == record_of(lane, entry)
    assert (record.state, record.client.packed, record.is_held) == (TcpState.SYN_SENT, OTHER, False)
    assert LEAST_STEP <= add(record.isn, -last) < LEAST_STEP + STEP_RANGE
    assert list(lane.proofs()) == [entry]
    check_like_python(gateway, raw, asked, record, gateway.answer(b""), 1500)
    assert not any(lane.bytes_of(entry)[OFFSETS["storm_ns"] :])
    check_endpoints(gateway.world.inside)


def test_it_serves_a_plain_client_behind_a_proven_one(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    gateway.serves_plainly()
    gateway.is_next(entry)
    assert "endpoint_reused" in gateway.put(tcp(OTHER, VIP, "S", seq=9, options=LINUX_SYN)).counted
    check_endpoints(gateway.world.inside)
    record = record_of(lane, entry)
    assert (record.state, record.flags, record.cookie) == (TcpState.SYN_RECV, Flags.IS_OPENING | Flags.IN_FIRST_TABLE, None)
    assert (record.outbound_seq_delta, record.inbound_ack_delta) == (0, 0)
    assert (record.inbound_window_shift, record.outbound_window_shift) == (0, 0)
    session = gateway.session()
    assert (session.cookie, session.state) == (None, TcpState.SYN_RECV)
    local, rs = record.local.packed, record.real_server.packed
    answer = tcp(rs, local, "SA", seq=R0, ack=add(record.isn, 1), options=MSS_1460, window=1000)
    seen = gateway.put(answer, 1)
    assert seen.verdict == CARRIED
    assert (Segment.parse(seen.raw).seq, Segment.parse(seen.raw).window) == (R0, 1000)
    check_endpoints(gateway.world.inside)


def test_endpoints_of_proven_clients_go_round_and_each_is_in_one_place(lane: Lane) -> None:
    """Several threads open and close connections on few endpoints: none is lost or doubled, each number is beyond the last one,
    and the shard takes none of the sessions into its tables."""
    gateway = BusyGateway(lane, fullnat_lport_min=5000, fullnat_lport_max=5039)
    before, last, opened = lane.counts(), dict[bytes, int](), 0
    for turn in range(12):
        gateway.prepare(20)
        clients = [pack_endpoint(CLIENT_ADDRESS + n, 1024 + turn) for n in range(40)]
        with ThreadPoolExecutor(4) as pool:
            for syn in pool.map(partial(connect_and_close, gateway), clients):
                if syn is not None:
                    opened += 1
                    # The data and a FIN have taken numbers as well.
                    beyond = add(syn.seq, -last.get(syn.key, add(syn.seq, -LEAST_STEP)))
                    assert LEAST_STEP <= beyond < LEAST_STEP + STEP_RANGE
                    last[syn.key] = add(syn.seq, 2 + len(DATA))
        gateway.shard.reconcile(1000, gateway.world.now)
        check_endpoints(gateway.world.inside)
        later(gateway, HANDSHAKE_MS / 1000)
        rest(gateway)
        assert not gateway.world.sessions()
        assert not lane.proofs()
        lane.forget_known_clients()  # those for whom nothing was ready
    counts = {name: count - before[name] for name, count in lane.counts().items()}
    assert opened == counts["proven"] == counts["joined"] == gateway.world.counter("sessions_short") > 200
    assert counts["endpoint_reused"] > 100
    assert len(last) < opened / 2, "endpoints were used again"


def asked_again(gateway: BusyGateway) -> tuple[int, bytes]:
    """A connection of CLIENT is over, and its endpoint asks its real server for OTHER; its entry, and the packet of OTHER."""
    assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    gateway.is_next(entry)
    gateway.put(raw := gateway.proof(DATA, OTHER))
    return entry, raw


def test_one_whose_real_server_is_silent_comes_into_the_tables(lane: Lane) -> None:
    """It is half-open: its shard has to know it, and asks again."""
    gateway = BusyGateway(lane)
    entry, _ = asked_again(gateway)
    later(gateway, 0)
    assert not gateway.world.sessions()
    later(gateway, HANDSHAKE_MS / 1000)
    (session,) = gateway.world.sessions()
    assert (session.state, session.entry) == (TcpState.SYN_SENT, entry)
    assert not lane.proofs()
    assert gateway.shard.handle(gateway.answer(), gateway.world.now) is HANDSHAKE_PACKET
    assert session.state == TcpState.ESTABLISHED
    check_endpoints(gateway.world.inside)


def test_half_open_ones_are_found_when_the_backlog_may_be_full(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    asked_again(gateway)
    gateway.world.inside.prepared.short.look_at_fresh()
    (session,) = gateway.world.sessions()
    assert session.state == TcpState.SYN_SENT
    check_endpoints(gateway.world.inside)


def test_python_goes_on_with_one_of_which_a_packet_came_up(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    _, raw = asked_again(gateway)
    assert gateway.put(raw).counted == {"up_numbers": 1}
    assert gateway.shard.handle(raw, gateway.world.now) is HELD
    check_endpoints(gateway.world.inside)
    assert gateway.shard.handle(gateway.answer(), gateway.world.now) is HANDSHAKE_PACKET
    assert gateway.record.state == TcpState.ESTABLISHED
    check_endpoints(gateway.world.inside)


def test_an_endpoint_for_whose_client_there_is_no_room_to_wait_is_free(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    gateway.is_next(entry)
    lane.fill_proofs(range(1 << 20, (1 << 20) + PROOFS))
    assert gateway.put(gateway.proof(DATA, OTHER)).counted == {"up_proofs": 1}
    gateway.world.inside.prepared.short.read()
    assert gateway.world.inside.prepared.short.resting == 0
    check_endpoints(gateway.world.inside)


def test_nothing_waits_for_a_session_that_could_not_be_opened(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    assert connect_and_close(gateway, CLIENT)
    entry = gateway.resting_entry()
    gateway.is_next(entry)
    lane.set_flow(server_flow := flows_in(gateway.maps.records, entry)[FLOW_BYTES:], 2 * entry + 3)
    assert gateway.put(gateway.proof(DATA, OTHER)).counted == {"up_room": 1}
    assert not lane.proofs()
    lane.set_flow(server_flow, 2 * entry + 1)
    gateway.world.inside.prepared.short.read()
    assert gateway.world.inside.prepared.short.resting == 0
    check_endpoints(gateway.world.inside)


def new_worker(gateway: BusyGateway) -> tuple[int, int, int]:
    """The worker is killed, and the next one adopts what it finds: sessions, records refused, and unserved."""
    world = gateway.world
    world.now = time.monotonic()
    world.shard = Shard(world.plan, world.shared, world.now, gateway.maps)
    adopted = world.shard.adopt(world.now)
    check_endpoints(world.inside)
    return adopted[:3]


def test_a_new_worker_adopts_it_in_each_phase(lane: Lane) -> None:
    """Asked, joined, and at rest: on an endpoint that another proven client had before."""
    for phase, state in (("asked", TcpState.SYN_SENT), ("joined", TcpState.ESTABLISHED), ("resting", TcpState.TIME_WAIT)):
        lane.clear()
        lane.forget_known_clients()
        gateway = BusyGateway(lane)
        assert connect_and_close(gateway, CLIENT)
        gateway.is_next(entry := gateway.resting_entry())
        if phase == "resting":
            assert connect_and_close(gateway, OTHER)
        else:
            gateway.put(gateway.proof(DATA, OTHER))
        if phase == "joined":
            assert gateway.put(gateway.answer(), 1).verdict == CARRIED
        cookie = record_of(lane, entry).cookie
        assert new_worker(gateway) == (1, 0, 0)
        assert not lane.proofs()
        (session,) = gateway.world.sessions()
        assert (session.state, session.cookie, session.entry) == (state, cookie, entry), phase
        assert state_in(gateway.maps.records.cast("I"), entry) == state
        if phase == "asked":
            assert gateway.shard.handle(gateway.answer(), gateway.world.now) is HANDSHAKE_PACKET
        if phase != "resting":
            record = gateway.record
            back = tcp(record.real_server.packed, record.local.packed, "PA", seq=R0 + 1, ack=add(record.isn, 1), data=b"x")
            judged = gateway.put(back, 1)
            assert (judged.verdict, Segment.parse(judged.raw).seq) == (CARRIED, add(cookie or 0, 1))
        check_endpoints(gateway.world.inside)


def test_a_late_packet_of_a_proxied_session_that_rests_brings_it_into_the_tables(lane: Lane) -> None:
    gateway = BusyGateway(lane)
    assert connect_and_close(gateway, CLIENT)
    record = record_of(lane, entry := gateway.resting_entry())
    late = tcp(record.real_server.packed, record.local.packed, "A", seq=R0 + 2, ack=record.rs_acked)
    assert (gateway.put(late, 1).verdict, gateway.put(late, 1).counted) == (UP, {"up_held": 1})
    gateway.shard.handle(late, gateway.world.now)
    (session,) = gateway.world.sessions()
    assert (session.entry, session.cookie, session.state) == (entry, record.cookie, TcpState.TIME_WAIT)
    assert Segment.parse(gateway.shard.output.rewritten).seq == add(record.cookie or 0, 2)
    assert gateway.put(late, 1).verdict == CARRIED, "the lane has it again"
    check_endpoints(gateway.world.inside)
