"""What is true of a shard between any two packets, and of every packet that it writes.

A rewrite changes a checksum by a difference: a packet with a right checksum keeps a right one, and a damaged packet stays damaged
by the same amount. So what is compared is how far a checksum is off.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import inf

import dpkt

from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS, OPEN_CONNS, OVER_CONNS
from appliance.model.tcp_state import CLOSING, STATE_NAMES, TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import COOKIE_SENT, HANDSHAKE_PACKET, ICMP_TRANSLATED, TO_CLIENT, TO_REAL_SERVER
from appliance.nat.lport import LocalPorts
from appliance.policy.steering import shard_of_local_port, shard_table
from appliance.sessions.lifecycle import Sessions
from appliance.state.progress import progress_of
from appliance.state.real_server import UNLISTED
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
PROVEN = (TcpState.ESTABLISHED, TcpState.FIN_WAIT, TcpState.CLOSE_WAIT, TcpState.LAST_ACK)
_FLAGS_AT, _TTL_AT, _QUOTE_WORDS_AT, _QUOTED_AT = 33, 8, 25, 28
_OPENING = dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK | dpkt.tcp.TH_FIN | dpkt.tcp.TH_RST

_ROUNDING_S = 1e-6

Off = tuple[int, int]
"""How far the checksum of the IP header is off, and how far that of the TCP segment or datagram."""

SHORTEST_TCP_BYTES = 40

SERVICES = (VIP, HTTPS)
REAL_SERVERS = (RS1, RS2)
OUR_ADDRESSES = (VIP[:4], LIP1.packed, LIP2.packed)

SOUND: Off = (0, 0)


def check_sessions(world: World, *, are_settled: bool) -> None:
    """Check that tables, counts, lines, timers and ports have the same sessions."""
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
        _check_slow_path(session, are_settled=are_settled)
    assert by_state == sessions.by_state.counts, "gauges of states"
    in_time_wait = {session for session in all_sessions if session.state == TcpState.TIME_WAIT}
    assert set(sessions.by_state.time_wait) == in_time_wait, "the line of TIME_WAIT"
    of_udp = [session for session in all_sessions if session.service.protocol == "udp"]
    assert world.shared.udp_counts[world.plan.shard] == len(of_udp), "the count of UDP that other shards read"
    unanswered = {session for session in of_udp if not progress_of(session).real_server.packets}
    assert unanswered <= set(sessions.by_state.unconfirmed) <= set(of_udp), "the line of unconfirmed sessions"
    assert all(session.is_unconfirmed for session in sessions.by_state.unconfirmed), "the line of unconfirmed sessions"
    for service in sessions._services.values():
        of_it = [session for session in all_sessions if session.service is service]
        assert set(service.half_open) == {session for session in of_it if session.state in HALF_OPEN}, "half open"
        for real_server in service.all_real_servers:
            states = [session.state for session in of_it if session.real_server is real_server]
            active = states.count(TcpState.ESTABLISHED)
            over = states.count(TcpState.TIME_WAIT) + states.count(TcpState.CLOSE)
            gauges = [real_server.counts[place] for place in (ACTIVE_CONNS, INACTIVE_CONNS, OVER_CONNS)]
            assert gauges == [active, len(states) - active - over, over], "gauges of a real server"
    check_clients(sessions)
    _check_wheel(sessions.wheel, all_sessions)
    _check_ports(sessions.local_ports("tcp"), [session for session in all_sessions if session.service.protocol == "tcp"])
    _check_ports(sessions.local_ports("udp"), of_udp)


def check_clients(sessions: Sessions) -> None:
    """Check that each client's sessions are counted, as far as they count, and that nothing else is."""
    counts = next((service.client_counts for service in sessions._services.values()), None)
    if counts is None:
        return
    expected = Counter[int]()
    for session in sessions_of(sessions):
        limit, is_proven = session.service.client_limit, session.state in PROVEN
        client = limit.client(session.client_address) if limit is not None and is_proven else None
        assert session.counted_as == client, "what a session counts as for the limit of its client"
        if client is not None:
            expected[client] += 1
    assert all(counts._own.count(client) == number for client, number in expected.items()), "sessions of a client"
    assert sum(counts._own.counts()) == expected.total(), "sessions of clients that have ended"


def check_published(world: World) -> None:
    """Check that the director sees what each real server has counted, right after it was published."""
    for service in world.inside._services.values():
        for real_server in service.all_real_servers:
            if real_server.slot != UNLISTED:
                counted = [*real_server.counts]
                over = counted[OVER_CONNS]  # in its place stands, for others, how many are not over
                counted[OPEN_CONNS] = counted[ACTIVE_CONNS] + counted[INACTIVE_CONNS]
                counted[INACTIVE_CONNS] += over
                assert world.shared.destination(world.plan.shard, real_server.slot).tolist() == counted


def sessions_of(sessions: Sessions) -> list[Session]:
    """All sessions. Most buckets of a small table are empty."""
    tables = (sessions.tcp, sessions.udp)
    return [session for table in tables for bucket in filter(None, table.by_direction[0]) for session in bucket.values()]


def _check_keys(table: SessionTable) -> None:
    """Check that each session is under both its keys, and that nothing else is."""
    inbound, outbound = table.by_direction
    all_sessions = [session for bucket in filter(None, inbound) for session in bucket.values()]
    for session in all_sessions:
        for buckets, key in ((inbound, session.client_key), (outbound, session.server_key)):
            assert buckets[hash(key) >> BUCKET_SHIFT].get(key) is session, "a session is not under its key"
    assert len(table) == len(all_sessions) == sum(map(len, outbound)), "both halves of a table"


def _check_slow_path(session: Session, *, are_settled: bool) -> None:
    """Check that a session's packets take the slow path whenever they have to, and otherwise only until it is settled."""
    closing_proxied = session.service.synproxy != NEVER and session.state in CLOSING
    has_to = session.opening is not None or session.challenge is not None or session.late_fin is not None or closing_proxied
    has_to |= session.entry is not None
    assert session.needs_slow_path or not has_to, "a session that needs the slow path does not take it"
    assert not are_settled or session.needs_slow_path == (has_to or session.real_server.is_removed), (
        "a session is on the slow path for no reason, or does not know of a reload"
    )


def _check_wheel(wheel: TimerWheel[Session], all_sessions: list[Session]) -> None:
    assert len(wheel) == len(all_sessions), "a session without a timer, or a timer without a session"
    assert wheel._due <= set(all_sessions), "a session that has ended is due"
    assert (wheel.next_look() is None) == (not all_sessions), "the next look at the timers"
    next_turn = wheel._tick * wheel.tick_s  # for a deadline that had passed when it was set, as one of the lane may have
    for session in all_sessions:
        # A deadline at the edge of a tick may be on either side of it, because a tick is not a whole number of seconds.
        latest = max(session.deadline, next_turn) + _ROUNDING_S
        assert session.wheel_time < latest < inf, "a session is looked at too late"
        _, sessions_of = wheel._slots.get(round(session.wheel_time / wheel.tick_s) + 1, (inf, set()))
        assert (session in sessions_of) != (session in wheel._due), "a session is in another slot of the wheel than its time says"


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
        assert all(map(pool.is_in_use, inside)), "a port of a session counts as free"
    assert not held, "a session has a port that no pool gave out"


def check_rewritten(raw: bytes, verdict: Verdict, rewritten: bytes, kept: set[Off]) -> None:
    """Check that `rewritten`, made of the packet `raw`, is whole, and that its checksums are as far off as those of `raw`.

    `kept` is how far off the checksums of packets were that a session may have kept for later.
    """
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
        # The SYN that the gateway sends for a client with a cookie, or one that was held until its client answered a challenge.
        assert verdict is TO_REAL_SERVER, "flags changed on the way to a client"
        assert rewritten[_FLAGS_AT] & _OPENING == dpkt.tcp.TH_SYN, "made anew, and no SYN"
        assert how_far_off(rewritten) in kept | {SOUND}, "made anew, and not sound"
        return
    assert how_far_off(rewritten) == how_far_off(raw), "a checksum was repaired or broken"
    assert _data(rewritten) == _data(raw), "data changed"
    assert rewritten[_TTL_AT] == raw[_TTL_AT], "TTL"


def _check_translated_error(raw: bytes, rewritten: bytes) -> None:
    """Check that a translated ICMP error has a right ICMP checksum, and that all others are as far off as those of `raw`."""
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
    """Check that a packet that was passed on gave its session the whole timeout of its state. A late SYN and a RST need not.

    A session in SYN_SENT has the time until its SYN is sent again.
    """
    moves = (verdict is TO_CLIENT and not flags & dpkt.tcp.TH_RST) or (
        verdict is TO_REAL_SERVER and not flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_RST)
    )
    if (moves or verdict is HANDSHAKE_PACKET) and session.state != TcpState.SYN_SENT:
        assert session.deadline == now + timeouts_s[session.state], "not the time of its state"


def check_claims(rewritten: bytes, client: bytes, option_kind: int) -> None:
    """Check that a client-address option, if there is one, names `client`, six bytes."""
    options = filter(None, dpkt.tcp.parse_opts(dpkt.ip.IP(rewritten).data.opts))
    before_the_end = takewhile(lambda option: option[0] != dpkt.tcp.TCP_OPT_EOL, options)
    claims = [data for kind, data in before_the_end if kind == option_kind and len(data) == len(client)]
    assert claims in ([], [client[4:] + client[:4]]), "a client claims an address"


def check_sent(raw: bytes, refusable: Iterable[bytes], kept: set[Off]) -> None:
    """Check a packet that the shard made by itself: it has right checksums.

    There are two exceptions. A packet that was held for a client, and a SYN that is sent again, are as damaged as they came,
    which `kept` tells. An ICMP error quotes one of the `refusable` packets as it came."""
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
    """How far the checksums of a whole IPv4 packet with TCP or UDP are off. A UDP checksum of 0 is not off."""
    body, protocol = raw[20:], raw[9]
    head = dpkt.in_cksum(raw[:20]) % 0xFFFF
    if protocol == dpkt.ip.IP_PROTO_UDP and body[6:8] == b"\0\0":
        return head, 0
    pseudo = raw[12:20] + bytes((0, protocol)) + len(body).to_bytes(2, "big")
    return head, dpkt.in_cksum(pseudo + body) % 0xFFFF


def _data(raw: bytes) -> bytes:
    return raw[20 + 4 * (raw[32] >> 4) :] if raw[9] == dpkt.ip.IP_PROTO_TCP else raw[28:]
