"""Prepared admissions in the real program: a shard prepares them, the program opens sessions, and the shard has them all."""

import json
import os
import socket
import subprocess
import time
from array import array
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ipc.admission_layout import LINE_OFFSETS, LINE_PLACES, REST_NS
from appliance.ipc.lane_layout import SLOTS, RealServerFlags, flow
from appliance.ipc.session_record import Flags, decode
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.nat.isn import LEAST_STEP, STEP_RANGE
from appliance.nat.opening import to_real_server
from appliance.sessions.ring import Ticket
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import LAST_SEEN_WORD, LONGS
from appliance.state.progress import RS_ACKED
from appliance.state.session import Session
from appliance.wire.flow import destination_of, pack_endpoint, source_of
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.conftest import new_namespace
from tests.kernel.gateway import Gateway, connect_and_close, later, ready_again, rest, rest_of_one_connection
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.jhash import slot_of_client
from tests.kernel.lane import CARRIED, UP, Judged, Lane, one_hop_less, with_one_zero
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, TIMESTAMP, WSCALE_7

EXAMPLES = min(100, int(os.environ.get("LANE_LIVES", "100")))
"""Fewer where the machine is slow."""
PRIORITY = 0x00A90000
SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)


def test_a_syn_opens_a_session_that_its_shard_has_at_once(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    judged = gateway.put(SYN)
    assert judged.verdict == UP
    assert judged.counted == {"carried": 1, "opened": 1, "option_added": 1}
    assert judged.traffic == {0: (1, len(SYN))} or judged.traffic == {2: (1, len(SYN))}
    (row,) = gateway.world.rows()
    assert (row.state, row.client) == ("SYN_RECV", f"{CLIENT_ADDRESS}:40000")
    session = gateway.session()
    assert decode(lane.bytes_of(session.entry or 0)).state == TcpState.SYN_RECV
    assert gateway.world.destination(session.real_server.slot)["conns"] == 1
    assert gateway.world.destination(session.real_server.slot)["opening_conns"] == 1


def test_the_rest_of_the_connection_is_carried(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.put(SYN)
    session = gateway.session()
    local, rs = session.leaving_key(0)[:4] + session.leaving_key(0)[8:10], session.real_server.endpoint
    assert gateway.put(tcp(rs, local, "SA", seq=R0, ack=add(session.isn, 1), options=MSS_1460), 1).verdict == CARRIED
    assert gateway.put(tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1)).verdict == CARRIED
    gateway.shard.reconcile(100, gateway.world.now)
    assert session.state == TcpState.ESTABLISHED


def test_a_connection_that_is_over_before_its_shard_looks_is_known_to_it(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.put(SYN)
    record = decode(lane.bytes_of(gateway.world.inside.prepared._active.copy().popitem()[0].tickets[0].entry))
    rs, local = record.real_server.packed, record.local.packed
    gateway.put(tcp(rs, local, "SA", seq=R0, ack=add(record.isn, 1), options=MSS_1460), 1)
    gateway.put(tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1))
    gateway.put(tcp(CLIENT, VIP, "FA", seq=C0 + 1, ack=R0 + 1))
    gateway.put(tcp(rs, local, "FA", seq=R0 + 1, ack=add(record.isn, 2)), 1)
    assert gateway.session().state in (TcpState.LAST_ACK, TcpState.TIME_WAIT, TcpState.CLOSE)
    assert gateway.world.by_state() != {"syn_recv": 1}


OPTIONS = st.lists(
    st.sampled_from((MSS_1460, b"\x02\x04\x00\x00", SACK_PERMITTED, WSCALE_7, b"\x03\x03\xff", TIMESTAMP, b"\x01", b"\x01\x01")),
    max_size=7,
).map(lambda parts: b"".join(parts)[:40])


@st.composite
def syns(draw: st.DrawFn) -> bytes:
    options = draw(OPTIONS | st.just(LINUX_SYN))
    options += draw(st.sampled_from((b"\0", b"\1"))) * (-len(options) % 4)
    client = pack_endpoint(CLIENT_ADDRESS + draw(st.integers(0, 200)), draw(st.integers(1, 65535)))
    flags = draw(st.sampled_from(("S", "SEW", "SE")))
    return tcp(
        client, VIP, flags, seq=draw(st.integers(0, 2**32 - 1) | st.just(0)), options=options[:40],
        window=draw(st.integers(0, 65535)),
    )  # fmt: skip


def test_the_syn_is_rewritten_as_python_does_it(lane: Lane) -> None:
    """Byte for byte, for the same local endpoint and number; and the record is the one that Python would have written."""
    seen = set[str]()

    @settings(max_examples=EXAMPLES)
    @given(syns(), st.booleans(), st.booleans())
    def one(syn: bytes, toa: bool, remove: bool) -> None:
        lane.clear()
        gateway = Gateway(lane, fullnat_toa_entry=toa, fullnat_timestamp_remove_entry=remove)
        gateway.prepare()
        judged = gateway.put(syn)
        seen.update(judged.counted)
        if "opened" not in judged.counted:
            assert (judged.verdict, judged.raw, set(judged.counted)) == (UP, syn, {"up_syn"})
            return
        check_as_python_does_it(gateway, syn, judged)

    one()
    assert "opened" in seen


def check_as_python_does_it(gateway: Gateway, syn: bytes, judged: Judged) -> None:
    """Check a SYN that the program has opened the only session by."""
    kernel = gateway.session()
    python = Session(
        kernel.service,
        kernel.real_server,
        kernel.client_key,
        kernel.leaving_key(0),
        kernel.client_isn,
        kernel.isn,
        kernel.opened_ms,
    )
    reference = gateway.reference
    assert reference.shard.handle(syn, reference.now) is TO_REAL_SERVER
    (other,) = reference.sessions()
    other.records = python.records
    expected = to_real_server(Segment.parse(syn), other, reference.inside.tunables, reference.shared.table(0, "ext"))
    assert with_one_zero(judged.raw) == with_one_zero(expected)
    assert kernel.opening is not None
    assert kernel.opening.syn is not None
    again = Segment.parse(kernel.opening.syn)  # what Python sends when the real server has answered for an older connection
    assert (again.key, again.seq, again.flags, again.options) == fields_of(expected)
    assert kernel.records == python.records
    other.words[RS_ACKED] = kernel.isn
    assert list(kernel.words) == list(other.words)


def fields_of(raw: bytes) -> tuple[bytes, int, int, bytes]:
    segment = Segment.parse(raw)
    return segment.key, segment.seq, segment.flags, segment.options


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 1,))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (damaged(SYN), "up_checksum"),
        (tcp(CLIENT, VIP, "S", seq=C0, data=b"d"), "up_syn"),
        (tcp(CLIENT, VIP, "SP", seq=C0), "up_syn"),
        (tcp(CLIENT, VIP, "S", seq=C0, options=bytes((254, 8)) + bytes(6)), "up_syn"),
        (tcp(CLIENT, VIP, "S", seq=C0, options=b"\x02\x00\0\0"), "up_syn"),
        (tcp(CLIENT, VIP, "S", seq=C0, options=(TIMESTAMP + b"\1\1") * 2), "up_syn"),
        (tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN + b"\1" * 12), "up_syn"),
        (tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN + b"\1" * 16), "up_syn"),
        (tcp(CLIENT, VIP, "A", seq=C0), "up_no_session"),
        (tcp(CLIENT, VIP, "SA", seq=C0), "up_no_session"),
        (tcp(VIP, VIP, "S", seq=C0), "up_side"),
        (tcp(bytes((127, 0, 0, 1, 9, 9)), VIP, "S", seq=C0), "up_side"),
        (tcp(pack_endpoint(CLIENT_ADDRESS - 1, 99), VIP, "S", seq=C0), "up_route"),
    ],
)
def test_what_is_unusual_goes_up_as_it_came(lane: Lane, raw: bytes, why: str) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    judged = gateway.put(raw)
    assert (judged.verdict, judged.raw, set(judged.counted)) == (UP, raw, {why})
    assert not gateway.world.rows()


def test_a_hop_limit_that_is_nearly_used_up_goes_up(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    low = SYN
    while low[8] > 32:
        low = one_hop_less(low)
    assert set(gateway.put(low).counted) == {"up_syn"}


def test_each_admission_is_used_once_and_then_syns_go_up(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    ready = gateway.world.inside.prepared._ready
    syns = [tcp(pack_endpoint(CLIENT_ADDRESS, 1000 + n), VIP, "S", seq=n, options=LINUX_SYN) for n in range(ready + 3)]
    counted = [set(gateway.put(syn).counted) & {"opened", "up_empty"} for syn in syns]
    assert counted == [{"opened"}] * ready + [{"up_empty"}] * 3
    gateway.shard.reconcile(1000, gateway.world.now)
    sessions = gateway.world.sessions()
    assert len(sessions) == ready
    assert len({session.leaving_key(0) for session in sessions}) == len({session.entry for session in sessions}) == ready
    servers = [session.real_server.slot for session in sessions]
    assert abs(servers.count(0) - servers.count(1)) <= 1


def test_a_syn_on_a_session_that_the_kernel_has_opened_goes_up_and_is_known(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.put(SYN)
    assert set(gateway.put(SYN).counted) == {"up_flags"}
    assert gateway.shard.handle(SYN, gateway.world.now) is TO_REAL_SERVER
    assert len(gateway.world.sessions()) == 1
    assert gateway.world.destination(gateway.session().real_server.slot)["conns"] == 1


def test_what_was_taken_back_is_not_handed_out(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    ready = gateway.world.inside.prepared._ready
    gateway.shard.change_drained((0,))
    assert gateway.world.counter("tickets_returned") == ready
    assert set(gateway.put(SYN).counted) == {"up_empty"}
    gateway.prepare()
    gateway.put(SYN)
    assert gateway.session().real_server.slot == 1


def test_nothing_is_handed_out_after_tunables_have_changed_until_the_shard_goes_by_them(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    lane.set(generation=gateway.world.shared.generation[0] + 1)
    assert set(gateway.put(SYN).counted) == {"up_empty"}
    gateway.world.shared.set_tunables({"fullnat_lport_min": 6000})
    gateway.shard.on_tick(gateway.world.now, 10)
    gateway.prepare()
    assert "opened" in gateway.put(SYN).counted
    assert gateway.session().local_port >= 6000


def test_a_shard_that_ends_leaves_nothing_and_so_does_one_that_was_killed(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.shard.close()
    assert set(gateway.put(SYN).counted) == {"up_empty"}
    gateway.prepare()
    gateway.put(SYN)
    successor = Shard(gateway.world.plan, gateway.world.shared, time.monotonic(), gateway.maps)
    assert successor.adopt(time.monotonic())[:3] == (1, 0, 0)
    assert set(gateway.put(tcp(pack_endpoint(CLIENT_ADDRESS, 7), VIP, "S", options=LINUX_SYN)).counted) == {"up_empty"}


@pytest.mark.parametrize("flag", [RealServerFlags.IS_REMOVED, RealServerFlags.NO_LANE])
def test_a_real_server_that_gets_none_makes_its_admissions_void(lane: Lane, flag: RealServerFlags) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    for slot in (0, 1):
        lane.set_real_server(slot, flags=flag)
    assert set(gateway.put(SYN).counted) == {"up_removed"}
    gateway.shard.reconcile(100, gateway.world.now)
    assert gateway.world.counter("tickets_returned") == 1
    assert not gateway.world.rows()


def test_two_cpus_take_each_admission_once(lane: Lane) -> None:
    """Several threads put SYNs at once: none is opened twice, none is lost."""
    gateway = Gateway(lane)
    clients = [pack_endpoint(CLIENT_ADDRESS + n % 200, 1024 + n) for n in range(600)]
    before = lane.counts()["opened"]
    for start in range(0, len(clients), 60):
        gateway.prepare()
        batch = [tcp(client, VIP, "S", seq=7, options=LINUX_SYN) for client in clients[start : start + 60]]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lane.put_only, batch))
        while gateway.shard.reconcile(1000, gateway.world.now):
            pass
    gateway.world.inside.prepared.take_in_all()
    check_endpoints(gateway.world.inside)
    sessions = gateway.world.sessions()
    assert len(sessions) == lane.counts()["opened"] - before > 100
    assert len({session.leaving_key(0) for session in sessions}) == len({session.entry for session in sessions}) == len(sessions)


def test_endpoints_go_round_and_each_is_in_one_place(lane: Lane) -> None:
    """Several threads open and close connections on few endpoints: none is lost or doubled, each number is beyond the last one,
    and the shard takes none of the sessions into its tables."""
    gateway = Gateway(lane, fullnat_lport_min=5000, fullnat_lport_max=5099)
    world, inside = gateway.world, gateway.world.inside
    before, last, opened = lane.counts()["opened"], dict[bytes, int](), 0
    for turn in range(30):
        gateway.prepare(20)
        clients = [pack_endpoint(CLIENT_ADDRESS + n, 1024 + turn) for n in range(40)]
        with ThreadPoolExecutor(4) as pool:
            for syn in pool.map(partial(connect_and_close, lane), clients):
                if syn is not None:
                    opened += 1
                    beyond = add(syn.seq, -last.get(syn.key, add(syn.seq, -LEAST_STEP)))
                    assert LEAST_STEP - 2 <= beyond < LEAST_STEP + STEP_RANGE + 2
                    last[syn.key] = add(syn.seq, 2)
        gateway.shard.reconcile(1000, world.now)
        check_endpoints(inside)
        later(gateway, HANDSHAKE_MS / 1000)
        rest(gateway)
        assert not world.sessions()
        assert turn % 5 or {row.state for row in world.rows()} == {"TIME_WAIT"}
    assert opened == lane.counts()["opened"] - before == world.counter("sessions_short") > 600
    assert world.counter("time_wait_ports_taken") > 300
    gateway.shard.publish_counts()
    assert sum(world.destination(slot)["conns"] for slot in (0, 1)) == opened
    assert len(last) < opened / 2, "endpoints were used again"


OTHER = pack_endpoint(CLIENT_ADDRESS + 77, 54321)


def test_an_endpoint_that_is_used_again_is_as_one_that_was_never_used(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    check_endpoints(gateway.world.inside)
    syn = tcp(OTHER, VIP, "S", seq=12345, options=LINUX_SYN)
    judged = gateway.put(syn)
    assert "opened" in judged.counted
    record = decode(lane.bytes_of(entry))
    assert (record.state, record.flags, record.is_held) == (TcpState.SYN_RECV, Flags.IS_OPENING | Flags.IN_FIRST_TABLE, False)
    gateway.world.inside.prepared.take_in_all()
    check_as_python_does_it(gateway, syn, judged)
    check_endpoints(gateway.world.inside)
    assert set(gateway.put(tcp(CLIENT, VIP, "A", seq=C0 + 2, ack=R0 + 2)).counted) == {"up_no_session"}, (
        "the client before is gone"
    )


def test_an_endpoint_that_came_to_nothing_a_second_time_is_free_and_its_last_number_is_remembered(lane: Lane) -> None:
    """The flow of its real server leads somewhere else; nobody knows why."""
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    record = decode(lane.bytes_of(entry))
    ready_again(gateway, entry)
    server_flow = flow(4, 6, record.real_server.packed, record.local.packed)
    lane.set_flow(server_flow, 7)
    assert set(gateway.put(tcp(OTHER, VIP, "S", seq=1, options=LINUX_SYN)).counted) == {"up_room"}
    inside = gateway.world.inside
    inside.prepared.short.read()
    inside.prepared.look(gateway.world.now)
    assert inside.prepared._short.resting == 0
    assert server_flow not in dict(gateway.maps.flows())
    inside.prepared.take_back()
    check_endpoints(inside)
    (last,) = {number for _, _, pool in inside.local_ports("tcp") for number in pool._last_seqs} - {-1}
    assert LEAST_STEP <= add(last, -record.rs_acked) < LEAST_STEP + STEP_RANGE


@pytest.mark.parametrize("flag", [RealServerFlags.IS_REMOVED, RealServerFlags.NO_LANE])
def test_no_endpoint_is_used_for_a_real_server_that_gets_none(lane: Lane, flag: RealServerFlags) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    for slot in (0, 1):
        lane.set_real_server(slot, flags=flag)
    assert set(gateway.put(tcp(OTHER, VIP, "S", seq=1, options=LINUX_SYN)).counted) == {"up_removed"}
    check_endpoints(gateway.world.inside)
    assert list(gateway.world.inside.prepared._short._resting.tickets) == [entry]


def test_a_late_packet_of_an_endpoint_that_rests_goes_up_to_its_shard(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    record = decode(lane.bytes_of(entry))
    late = tcp(record.real_server.packed, record.local.packed, "A", seq=R0 + 2, ack=record.rs_acked)
    judged = gateway.put(late, 1)
    assert (judged.verdict, judged.raw, set(judged.counted)) == (UP, late, {"up_held"})
    assert gateway.shard.handle(late, gateway.world.now) is TO_CLIENT
    (session,) = gateway.world.sessions()
    assert (session.entry, session.state) == (entry, TcpState.TIME_WAIT)
    assert gateway.put(late, 1).verdict == CARRIED, "the lane has it again"
    check_endpoints(gateway.world.inside)


def test_who_belongs_to_a_pool_bothers_no_shard_with_its_moves(lane: Lane) -> None:
    """Until it is in the tables: then its shard has its state, and hears of each further move."""
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    syn = tcp(OTHER, VIP, "S", seq=1, options=LINUX_SYN)
    opened = Segment.parse(lane.pass_on(syn, 0)[1])
    local, rs = source_of(opened.key), destination_of(opened.key)
    gateway.maps.changed[entry] = 0
    assert lane.pass_on(tcp(rs, local, "SA", seq=R0, ack=add(opened.seq, 1), options=MSS_1460), 1)[0] == CARRIED
    assert gateway.maps.changed[entry] == 0
    gateway.world.inside.prepared.take_in_all()
    (session,) = gateway.world.sessions()
    assert (session.entry, session.state) == (entry, TcpState.SYN_RECV)
    assert lane.pass_on(tcp(OTHER, VIP, "A", seq=2, ack=R0 + 1), 0)[0] == CARRIED
    assert gateway.maps.changed[entry] == 1
    gateway.shard.reconcile(100, gateway.world.now)
    assert session.state == TcpState.ESTABLISHED


CLIENTS = st.tuples(st.integers(1, 250), st.integers(1, 65535), st.integers(1, 2**32 - 1))


def test_the_slot_of_a_client_is_that_of_nftables(lane: Lane) -> None:
    """Each shard has one slot here: the ring that is tried tells the slot."""
    lane.set_admissions(VIP, 0)

    @settings(max_examples=min(60, EXAMPLES))
    @given(CLIENTS)
    def one(drawn: tuple[int, int, int]) -> None:
        host, port, seed = drawn
        client = pack_endpoint(CLIENT_ADDRESS - 2 + host, port)
        if host in (1, 0):
            return
        lane.set_steering(seed, bytes(range(SLOTS)))
        lane.offer_void_tickets(SLOTS)
        lane.put(tcp(client, VIP, "S", options=LINUX_SYN), 0)
        moved = [ring for ring in range(SLOTS) if lane.taken(ring)]
        assert moved == [slot_of_client(client, seed)]

    one()


def test_the_reference_is_that_of_nftables() -> None:
    """`nft` puts the slots of packets into a set, which tells them."""
    with new_namespace():
        table = """
        table ip t {
            set slots { typeof numgen inc mod 256; flags dynamic; size 256; }
            chain out { type filter hook output priority 0;
                udp dport 9 add @slots { jhash ip saddr . th sport mod 256 seed 0x12345678 }
            }
        }"""
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        if subprocess.run(["nft", "-f", "-"], input=table, text=True, capture_output=True).returncode:
            pytest.skip("nft does not take the set")
        expected = set[int]()
        for port in range(20000, 20040):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind(("127.0.0.1", port))
                sender.sendto(b"x", ("127.0.0.1", 9))
            expected.add(slot_of_client(bytes((127, 0, 0, 1)) + pack(">H", port), 0x12345678))
        listed = json.loads(
            subprocess.run(["nft", "-j", "list", "set", "ip", "t", "slots"], check=True, capture_output=True).stdout
        )
        (found,) = [each["set"]["elem"] for each in listed["nftables"] if "set" in each]
        assert set(found) == expected


def test_the_kernel_puts_an_endpoint_in_line_behind_its_last_packet(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    for turn in range(3):
        ready_again(gateway, entry)
        assert connect_and_close(lane, pack_endpoint(CLIENT_ADDRESS + 9, 999 + turn))
        assert decode(lane.bytes_of(entry)).is_held, "the program holds it"
        check_endpoints(gateway.world.inside)
        assert (gateway.world.inside.prepared._short.young, gateway.world.inside.prepared._short.resting) == (0, 1)
    assert gateway.world.counter("sessions_short") == 4


def go_round(gateway: Gateway, number: int, *, turns: int, steps: Callable[[int], "array[int]"] | None = None) -> list[int]:
    """So many connections of other clients are over, and their endpoints have rested. Nothing else is ready, and the program may
    take so many turns; returns the entries."""
    inside = gateway.world.inside
    gateway.prepare(20)
    for client in range(number):
        assert connect_and_close(gateway.lane, pack_endpoint(CLIENT_ADDRESS + 1 + client, 40000))
    gateway.shard.reconcile(1000, gateway.world.now)
    later(gateway, HANDSHAKE_MS / 1000)
    inside.prepared.take_back()
    inside.prepared.take_over()
    rest(gateway)
    (ring,) = inside.prepared._active
    service = inside.service("tcp", VIP)
    assert service is not None
    inside.prepared.short.schedule(ring, service)
    if steps is not None:
        ring._stepped = 0  # as if none had been drawn yet
    ring.allow(turns, inside.prepared.generation, steps or inside.prepared._admission.steps)
    return list(inside.prepared.short._resting.tickets)


def syn_from(number: int) -> bytes:
    return tcp(pack_endpoint(CLIENT_ADDRESS + number % 200, 50000 + number), VIP, "S", seq=number, options=LINUX_SYN)


def test_an_endpoint_that_has_not_rested_for_long_enough_is_not_used(lane: Lane) -> None:
    gateway = Gateway(lane)
    (entry,) = go_round(gateway, 1, turns=5)
    longs = gateway.maps.records.cast("Q")
    longs[entry * LONGS + LAST_SEEN_WORD] = time.monotonic_ns() + 10**12
    (ring,) = gateway.world.inside.prepared._active
    ring.put_schedule([gateway.world.inside.prepared.short._resting.pool_of(ticket_of(gateway, entry)).number])
    assert set(gateway.put(syn_from(1)).counted) == {"up_empty"}
    longs[entry * LONGS + LAST_SEEN_WORD] = time.monotonic_ns() - REST_NS
    assert "endpoint_reused" in gateway.put(syn_from(2)).counted


def ticket_of(gateway: Gateway, entry: int) -> Ticket:
    return gateway.world.inside.prepared.short._resting.tickets[entry]


def test_no_more_turns_are_taken_than_were_allowed(lane: Lane) -> None:
    gateway = Gateway(lane)
    go_round(gateway, 20, turns=7)
    counted = [set(gateway.put(syn_from(number)).counted) & {"endpoint_reused", "up_empty"} for number in range(9)]
    assert counted == [{"endpoint_reused"}] * 7 + [{"up_empty"}] * 2


def test_turns_of_a_schedule_are_taken_one_after_the_other_by_several_cpus(lane: Lane) -> None:
    gateway = Gateway(lane)
    go_round(gateway, 64, turns=48)
    before = lane.counts()["endpoint_reused"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lane.put_only, [syn_from(number) for number in range(48)]))
    assert lane.counts()["endpoint_reused"] - before == 48
    (ring,) = gateway.world.inside.prepared._active
    assert ring.turns_taken() == 48
    gateway.world.inside.prepared.take_in_all()
    slots = Counter(session.real_server.slot for session in gateway.world.sessions())
    assert slots == {0: 24, 1: 24}
    check_endpoints(gateway.world.inside)


@pytest.mark.parametrize("line", range(4))
def test_the_step_says_in_which_line_the_program_looks_first(lane: Lane, line: int) -> None:
    gateway = Gateway(lane)
    step = LEAST_STEP + 12345
    entries = go_round(gateway, 64, turns=2, steps=lambda number: array("I", (step | line << 30,) * number))
    homes = gateway.maps.homes.cast("I")
    lines = {entry: homes[2 * entry + 1] // LINE_PLACES for entry in entries}
    assert set(lines.values()) == {0, 1, 2, 3}
    last = {entry: decode(lane.bytes_of(entry)).rs_acked for entry in entries}
    for number in (1, 2):
        assert "endpoint_reused" in gateway.put(syn_from(number)).counted
    used = [entry for entry in entries if not decode(lane.bytes_of(entry)).is_held]
    assert [lines[entry] for entry in used] == [line, line]
    assert all(add(decode(lane.bytes_of(entry)).isn, -last[entry]) == step for entry in used)


def test_a_session_of_which_not_all_is_acknowledged_is_not_put_in_line(lane: Lane) -> None:
    gateway = Gateway(lane)
    (entry,) = go_round(gateway, 1, turns=5)
    pool = gateway.world.inside.prepared.short._resting.pool_of(ticket_of(gateway, entry))
    pool.ring.put_schedule([pool.number])
    opened = Segment.parse(gateway.put(SYN).raw)
    local, rs = source_of(opened.key), destination_of(opened.key)
    for packet, direction in (
        (tcp(rs, local, "SA", seq=R0, ack=add(opened.seq, 1), options=MSS_1460), 1),
        (tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1), 0),
        (tcp(rs, local, "FA", seq=R0 + 1, ack=add(opened.seq, 1)), 1),
        (tcp(CLIENT, VIP, "FA", seq=C0 + 1, ack=R0 + 2), 0),
        (tcp(rs, local, "A", seq=R0 + 2, ack=add(opened.seq, 1)), 1),
    ):
        assert gateway.put(packet, direction).verdict == CARRIED
    record = decode(lane.bytes_of(entry))
    assert (record.state in (TcpState.TIME_WAIT, TcpState.CLOSE), record.is_held) == (True, False)
    assert gateway.put(tcp(rs, local, "A", seq=R0 + 2, ack=add(opened.seq, 2)), 1).verdict == CARRIED
    assert decode(lane.bytes_of(entry)).is_held
    check_endpoints(gateway.world.inside)


def test_a_place_that_is_not_written_yet_is_not_taken_for_the_one_that_stood_there_before(lane: Lane) -> None:
    gateway = Gateway(lane)
    (entry,) = go_round(gateway, 1, turns=5)
    pool = gateway.world.inside.prepared.short._resting.pool_of(ticket_of(gateway, entry))
    pool.ring.put_schedule([pool.number])
    line, place = divmod(gateway.maps.homes.cast("I")[2 * entry + 1], LINE_PLACES)
    longs = pool.lines[line]._longs
    at = LINE_OFFSETS["places"] // 8 + place
    assert longs[at] & 0xFFFFFFFF == entry
    longs[at] += LINE_PLACES << 32
    assert set(gateway.put(syn_from(1)).counted) == {"up_empty"}
    longs[at] -= LINE_PLACES << 32
    assert "endpoint_reused" in gateway.put(syn_from(2)).counted
