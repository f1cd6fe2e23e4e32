"""What is true of a shard between any two packets, and of every packet that it writes.

Checksums are read as how far they are off: a rewrite moves a checksum by difference, so a damaged packet has to stay damaged by
the same amount, and a sound one sound.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import inf

import dpkt

from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS
from appliance.model.tcp_state import CLOSING, STATE_NAMES, TcpState
from appliance.model.verdicts import COOKIE_SENT, HANDSHAKE_PACKET, ICMP_TRANSLATED, TO_CLIENT, TO_REAL_SERVER, Verdict
from appliance.nat.lport import LocalPorts
from appliance.policy.steering import shard_of_local_port, shard_table
from appliance.sessions.lifecycle import Sessions
from appliance.state.services import NEVER
from appliance.state.session import Session
from appliance.state.session_table import BUCKET_SHIFT, SessionTable
from appliance.timers import TimerWheel
from appliance.wire.flow import destination_of, source_of
from tests.support.addresses import LIP1, LIP2, RS1, RS2, VIP
from tests.support.fuzz_operands import HTTPS
from tests.support.segments import assert_ip_checksum, read_tcp
from tests.support.world import World

HALF_OPEN = (TcpState.SYN_RECV, TcpState.SYN_SENT)
_FLAGS_AT, _TTL_AT, _QUOTE_WORDS_AT, _QUOTED_AT = 33, 8, 25, 28
_OPENING = dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK | dpkt.tcp.TH_FIN | dpkt.tcp.TH_RST

_ROUNDING_S = 1e-6

Off = tuple[int, int]
"""How far the checksum of the IP header is off, and that of what it carries."""

SHORTEST_TCP_BYTES = 40

SERVICES = (VIP, HTTPS)
REAL_SERVERS = (RS1, RS2)
OUR_ADDRESSES = (VIP[:4], LIP1.packed, LIP2.packed)

SOUND: Off = (0, 0)


def check_sessions(world: World, *, are_settled: bool) -> None:
    """Tables, counts, lines, timers and ports all tell of the same sessions."""
    sessions = world.inside
    all_sessions = sessions_of(sessions)
    _check_keys(sessions.tcp)
    _check_keys(sessions.udp)
    assert len(sessions) == len(all_sessions) == sum(sessions.by_state.counts), "by state"
    assert world.shared.session_counts[world.plan.shard] == len(all_sessions), "the count that other shards read"
    by_state = [0] * len(STATE_NAMES)
    table = shard_table(world.plan.shards)
    for session in all_sessions:
        by_state[session.state] += 1
        owner = shard_of_local_port(table, session.local_port)
        assert owner == world.plan.shard, "answers would reach another shard"
        is_asked = session.opening is not None and session.opening.handshake is not None
        assert is_asked == (session.state == TcpState.SYN_SENT), "SYN_SENT is a real server asked for a client that proved itself"
        _check_long_way(session, are_settled=are_settled)
    assert by_state == sessions.by_state.counts, "gauges of states"
    in_time_wait = {session for session in all_sessions if session.state == TcpState.TIME_WAIT}
    assert set(sessions.by_state.time_wait) == in_time_wait, "the line of TIME_WAIT"
    for service in sessions._services.values():
        of_it = [session for session in all_sessions if session.service is service]
        assert set(service.half_open) == {session for session in of_it if session.state in HALF_OPEN}, "half open"
        for real_server in service.all_real_servers:
            states = [session.state for session in of_it if session.real_server is real_server]
            active = states.count(TcpState.ESTABLISHED)
            gauges = real_server.counts[ACTIVE_CONNS], real_server.counts[INACTIVE_CONNS]
            assert gauges == (active, len(states) - active), "gauges of a real server"
    _check_wheel(sessions.wheel, all_sessions)
    _check_ports(sessions.local_ports("tcp"), [session for session in all_sessions if session.service.protocol == "tcp"])
    _check_ports(sessions.local_ports("udp"), [session for session in all_sessions if session.service.protocol == "udp"])


def sessions_of(sessions: Sessions) -> list[Session]:
    """All of them. Most buckets of a small table are empty."""
    tables = (sessions.tcp, sessions.udp)
    return [session for table in tables for bucket in filter(None, table.by_direction[0]) for session in bucket.values()]


def _check_keys(table: SessionTable) -> None:
    """Each entry is under both its keys, and nothing else is."""
    inbound, outbound = table.by_direction
    all_sessions = [session for bucket in filter(None, inbound) for session in bucket.values()]
    for session in all_sessions:
        for buckets, key in ((inbound, session.client_key), (outbound, session.server_key)):
            assert buckets[hash(key) >> BUCKET_SHIFT].get(key) is session, "an entry is not under its key"
    assert len(table) == len(all_sessions) == sum(map(len, outbound)), "both halves of a table"


def _check_long_way(session: Session, *, are_settled: bool) -> None:
    """Packets take the short way only when there is nothing on the long one."""
    closing_proxied = session.service.synproxy != NEVER and session.state in CLOSING
    has_to = session.opening is not None or session.challenge is not None or closing_proxied
    assert session.needs_slow_path or not has_to, "a session that wants a closer look does not get it"
    assert not are_settled or session.needs_slow_path == (has_to or session.real_server.is_removed), (
        "what a reload changed is not known"
    )


def _check_wheel(wheel: TimerWheel[Session], all_sessions: list[Session]) -> None:
    assert len(wheel) == len(all_sessions), "a session without a timer, or a timer without a session"
    assert wheel._due <= set(all_sessions), "a session that has ended is due"
    assert (wheel.next_look() is None) == (not all_sessions), "the next look at the timers"
    for session in all_sessions:
        # A deadline on the very edge of a tick may be taken for either side of it: seconds are no whole number of ticks.
        assert session.wheel_time < session.deadline + _ROUNDING_S < inf, "a session is looked at too late"
        _, sessions_of = wheel._slots.get(round(session.wheel_time / wheel.tick_s) + 1, (inf, set()))
        assert (session in sessions_of) != (session in wheel._due), "not where its time says"


def _check_ports(pools: LocalPorts, all_sessions: list[Session]) -> None:
    held: dict[bytes, set[int]] = {}
    for session in all_sessions:
        key = session.local_address + session.real_server.endpoint
        assert session.local_port not in held.setdefault(key, set()), "two sessions with one port"
        held[key].add(session.local_port)
    for local_address, real_server, pool in pools:
        ports = held.pop(local_address + real_server, set())
        inside = ports - pool._outside
        assert pool._outside <= ports, "a port is taken that no session has"
        assert pool.in_use == pool._used.count(1) == len(inside), "ports in use"
        marked = [bool(pool._used[index]) for port in inside if (index := pool._index_of(port)) is not None]
        assert all(marked), "a port of a session counts as free"
    assert not held, "a session has a port that no pool gave out"


def check_rewritten(raw: bytes, verdict: Verdict, rewritten: bytes, kept: set[Off]) -> None:
    """What became of the packet `raw` is whole, and as sound as that was. `kept` is how far off packets were that a session
    may have kept for later."""
    if verdict is ICMP_TRANSLATED:
        _check_translated_error(raw, rewritten)
        return
    assert dpkt.ip.IP(rewritten).len == len(rewritten), "IP length"
    if verdict is COOKIE_SENT:
        assert read_tcp(rewritten).flags == "SA", "not a SYN-ACK with a cookie"
        return
    source, destination = source_of(rewritten[12:24]), destination_of(rewritten[12:24])
    assert source in SERVICES if verdict is TO_CLIENT else destination in REAL_SERVERS, "to or from somebody else"
    if raw[9] == dpkt.ip.IP_PROTO_TCP and raw[_FLAGS_AT] != rewritten[_FLAGS_AT]:
        # The SYN in the name of a client that proved itself, or the one that was held until its client proved it.
        assert verdict is TO_REAL_SERVER, "flags changed on the way to a client"
        assert rewritten[_FLAGS_AT] & _OPENING == dpkt.tcp.TH_SYN, "made anew, and no SYN"
        assert how_far_off(rewritten) in kept | {SOUND}, "made anew, and not sound"
        return
    assert how_far_off(rewritten) == how_far_off(raw), "a checksum was repaired or broken"
    assert _data(rewritten) == _data(raw), "data changed"
    assert rewritten[_TTL_AT] == raw[_TTL_AT], "TTL"


def _check_translated_error(raw: bytes, rewritten: bytes) -> None:
    """A translated ICMP error has right checksums where `raw` has: its own IP header's may be off, and those of its quote."""
    packet = dpkt.ip.IP(rewritten)
    assert (packet.p, packet.len) == (dpkt.ip.IP_PROTO_ICMP, len(rewritten)), "protocol or IP length"
    assert dpkt.in_cksum(rewritten[20:]) == 0, "ICMP checksum"
    for start in (0, _QUOTED_AT):
        before, after = raw[start : start + 20], rewritten[start : start + 20]
        assert dpkt.in_cksum(after) % 0xFFFF == dpkt.in_cksum(before) % 0xFFFF, "an IP header checksum was repaired or broken"
    before, after = raw[_QUOTED_AT:], rewritten[_QUOTED_AT:]
    if not raw[_QUOTE_WORDS_AT] and _is_whole(before) and _is_whole(after):
        assert how_far_off(after) == how_far_off(before), "a checksum in a quote was repaired or broken"


def _is_whole(quoted: bytes) -> bool:
    return len(quoted) >= SHORTEST_TCP_BYTES and int.from_bytes(quoted[2:4], "big") == len(quoted)


def check_deadline(session: Session, verdict: Verdict, flags: int, timeouts_s: Sequence[float], now: float) -> None:
    """A packet that went on has given its session all the time of its state; but for a late SYN, and a RST, which may not.

    The time of a session whose real server is being asked is that of its SYN.
    """
    moves = verdict is TO_CLIENT or (verdict is TO_REAL_SERVER and not flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_RST))
    if (moves or verdict is HANDSHAKE_PACKET) and session.state != TcpState.SYN_SENT:
        assert session.deadline == now + timeouts_s[session.state], "not the time of its state"


def check_claims(rewritten: bytes, client: bytes, option_kind: int) -> None:
    """A real server is told of no client but the one that there is, six bytes."""
    options = filter(None, dpkt.tcp.parse_opts(dpkt.ip.IP(rewritten).data.opts))
    before_the_end = takewhile(lambda option: option[0] != dpkt.tcp.TCP_OPT_EOL, options)
    claims = [data for kind, data in before_the_end if kind == option_kind and len(data) == len(client)]
    assert claims in ([], [client[4:] + client[:4]]), "a client claims an address"


def check_sent(raw: bytes, refusable: Iterable[bytes], kept: set[Off]) -> None:
    """A packet of the shard's own is sound. But one that was held for a client is as damaged as it came, and a SYN that is sent
    again as damaged as it was, which `kept` tells; and an ICMP error quotes the packet it answers, of those that are
    `refusable`, as that is."""
    assert dpkt.ip.IP(raw).len == len(raw), "IP length"
    assert raw[12:16] in OUR_ADDRESSES, "in the name of somebody else"
    if raw[9] == dpkt.ip.IP_PROTO_ICMP:
        assert_ip_checksum(raw)
        assert dpkt.in_cksum(raw[20:]) == 0, "ICMP checksum"
        assert any(refused.startswith(raw[28:]) for refused in refusable), "an error about another packet"
    elif (off := how_far_off(raw)) != SOUND:
        assert off in kept, "a damaged packet of our own"
    else:
        read_tcp(raw)


def how_far_off(raw: bytes) -> Off:
    """Of a whole IPv4 packet with TCP or UDP; a UDP checksum that was not computed is not off."""
    body, protocol = raw[20:], raw[9]
    head = dpkt.in_cksum(raw[:20]) % 0xFFFF
    if protocol == dpkt.ip.IP_PROTO_UDP and body[6:8] == b"\0\0":
        return head, 0
    pseudo = raw[12:20] + bytes((0, protocol)) + len(body).to_bytes(2, "big")
    return head, dpkt.in_cksum(pseudo + body) % 0xFFFF


def _data(raw: bytes) -> bytes:
    return raw[20 + 4 * (raw[32] >> 4) :] if raw[9] == dpkt.ip.IP_PROTO_TCP else raw[28:]
