"""Lives of sessions, told to a shard without a lane and to the lane's program at the same time.

What the program carries, the shard has to carry in the same way: the same bytes, the same state, the same numbers. What goes up
is judged by the shard, and the record of its session is written anew, as a worker with a lane does it.
"""

from collections import Counter

from appliance.ipc.lane_layout import RealServerFlags
from appliance.ipc.session_record import Endpoint, Flags, SessionRecord, encode
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import FIRST, UDP_STATE
from appliance.model.verdict import Verdict
from appliance.model.verdicts import STORM, TO_CLIENT, TO_REAL_SERVER
from appliance.state.rewrite_record import packed
from appliance.state.services import NEVER
from appliance.state.session import Session
from appliance.wire.flow import Direction, destination_of, source_of
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from appliance.wire.seq import MASK, add
from tests.kernel.lane import CARRIED, DROPPED, UP, Judged, Lane
from tests.support.world import World

MODULUS = 65535

FOR_EVER_NS = 1 << 62

_WORDS = (
    "client_acked", "client_next_seq", "client_window", "inbound_packets", "inbound_bytes",
    "rs_acked", "rs_next_seq", "rs_window", "outbound_packets", "outbound_bytes",
)  # fmt: skip
_COUNTED_AS = {"option_added": "fullnat_add_toa_ok", "option_no_room": "fullnat_add_toa_fail_len", "storm": "synproxy_ack_storm"}
"""Counters of the program -> those of the extended table that move with them."""


def is_plain(session: Session) -> bool:
    """Whether the program may have the session."""
    opening = session.opening
    is_set_up = opening is None or (opening.handshake is None and not opening.stale_answers)
    return is_set_up and session.challenge is None and session.late_fin is None and not session.is_unconfirmed


def record_of(session: Session, *, is_held: bool) -> SessionRecord:
    """The session as its record."""
    inbound, outbound, opening = session.record(Direction.INBOUND), session.record(Direction.OUTBOUND), session.opening
    first_seq = None if opening is None or opening.rs_first_seq is None else add(opening.rs_first_seq, inbound.ack_delta)
    flags = Flags.IS_OPENING if opening is not None else Flags(0)
    flags |= Flags.HAS_ANSWER if first_seq is not None else Flags(0)
    flags |= Flags.IN_FIRST_TABLE if session.first_table == FIRST else Flags(0)
    flags |= Flags.HAS_COOKIE if session.cookie is not None else Flags(0)
    flags |= Flags.WAS_RESET if session.was_reset else Flags(0)
    keys = (session.client_key, session.leaving_key(Direction.INBOUND))
    ends = (end for key in keys for end in (source_of(key), destination_of(key)))
    client, vip, local, real_server = (Endpoint(end[:4], int.from_bytes(end[4:], "big")) for end in ends)
    return SessionRecord(
        family=4,
        protocol=PROTO_UDP if session.state == UDP_STATE else PROTO_TCP,
        state=session.state,
        flags=flags,
        inbound_window_shift=inbound.window_shift,
        outbound_window_shift=outbound.window_shift,
        is_held=is_held,
        client=client,
        vip=vip,
        local=local,
        real_server=real_server,
        inbound_seq_delta=inbound.seq_delta,
        inbound_ack_delta=inbound.ack_delta,
        outbound_seq_delta=outbound.seq_delta,
        outbound_ack_delta=outbound.ack_delta,
        client_isn=session.client_isn,
        isn=session.isn,
        cookie=session.cookie,
        rs_first_seq=first_seq,
        slot=session.real_server.slot,
        opened_ms=session.opened_ms,
        last_seen_ns=0,
        **dict(zip(_WORDS, session.words, strict=True)),
    )


def _checksum_at(raw: bytes) -> int:
    return 36 if raw[9] == PROTO_TCP else 26


def transport_checksum(raw: bytes) -> int:
    """The checksum of a TCP or UDP packet."""
    return int.from_bytes(raw[(at := _checksum_at(raw)) : at + 2], "big")


def with_transport_checksum(raw: bytes, checksum: int) -> bytes:
    """The packet with another one."""
    return raw[: (at := _checksum_at(raw))] + checksum.to_bytes(2, "big") + raw[at + 2 :]


def without_padding(raw: bytes) -> bytes:
    """What the kernel hands on of a frame: nothing that lies behind the end of its packet."""
    total = int.from_bytes(raw[2:4], "big")
    return raw[:total] if total >= 20 else raw


def in_other_numbers(raw: bytes) -> bytes:
    """A packet with its checksums as numbers modulo 65535: zero has two forms."""
    ip = int.from_bytes(raw[10:12], "big") % MODULUS
    return with_transport_checksum(raw[:10] + ip.to_bytes(2, "big") + raw[12:], transport_checksum(raw) % MODULUS)


def a_hop_later(raw: bytes) -> bytes:
    """An IP packet with one hop less to live."""
    checksum = (int.from_bytes(raw[10:12], "big") + 0x100) % MODULUS
    return raw[:8] + bytes((raw[8] - 1, raw[9])) + checksum.to_bytes(2, "big") + raw[12:]


class Lives:
    """A world and the lane beside it. Sessions of the world are published as they come up."""

    def __init__(self, lane: Lane, world: World) -> None:
        self.lane, self.world = lane, world
        self.told = Counter[str]()
        """What the program has counted."""
        self._entries: dict[Session, int] = {}
        lane.clear()
        self.write_settings()

    def write_settings(self) -> None:
        """Tell the program what the director would: tunables, services, routes."""
        tunables = self.world.inside.tunables
        self.lane.set(
            toa=tunables.toa,
            toa_kind=tunables.toa_kind,
            mss_adjust=tunables.mss_adjust,
            storm_threshold=tunables.storm_thresh,
            storm_interval_ns=FOR_EVER_NS,  # time stands still in this world
        )
        for service in self.world.inside._services.values():
            for real_server in service.all_real_servers:
                flags = RealServerFlags.ASKS_FOR_COOKIES if service.synproxy != NEVER else RealServerFlags(0)
                flags |= RealServerFlags.IS_REMOVED if real_server.is_removed else RealServerFlags(0)
                self.lane.set_real_server(real_server.slot, real_server.mtu, flags)

    def put(self, raw: bytes, direction: int, finished: bytes | None = None) -> Judged:
        """Give a packet to both, and compare. `finished` is the packet with its whole checksum, when `raw` has only that of the
        pseudo header: the kernel finishes it before it hands the packet to Python."""
        session = self._find(raw)
        entry = self._entries.get(session, -1) if session is not None else -1
        before = self.lane.bytes_of(entry) if entry >= 0 else b""
        counted = {name: self.world.counter(name) for name in _COUNTED_AS.values()}
        judged = self.lane.put(raw, direction)
        self.told.update(judged.counted)
        received = without_padding(finished or raw)
        verdict = self.world.put(received)
        if judged.verdict == UP:
            self._check_untouched(raw, judged, entry, before)
            self.publish(session if session is not None else self._find(raw))
        else:
            assert session is not None
            self._check_carried(received, judged, verdict, direction, session)
            if judged.verdict == CARRIED:
                self._check_bytes(raw, received, judged)
                self._check_record(session, before)
            for name, told in _COUNTED_AS.items():
                assert judged.counted.get(name, 0) == self.world.counter(told) - counted[told], name
        self.world._on_the_wire.clear()
        return judged

    def entry_of(self, session: Session) -> int:
        """The entry that a session was published in."""
        return self._entries[session]

    def _find(self, raw: bytes) -> Session | None:
        tables = {PROTO_TCP: self.world.inside.tcp, PROTO_UDP: self.world.inside.udp}
        return tables[raw[9]].find(raw[12:24])[0] if raw[9] in tables else None

    def end(self, session: Session) -> None:
        """An operator ends a session."""
        self.world.inside.end(session, EndReason.CUT)
        self.world._collect_segments()
        self.world._on_the_wire.clear()
        self.publish(session)

    def publish(self, session: Session | None) -> None:
        """Write the record of a session that the shard has judged, if it is still there."""
        if session is None:
            return
        tables = (self.world.inside.tcp, self.world.inside.udp)
        if not any(table.find(session.client_key)[0] is session for table in tables):
            entry = self._entries.pop(session, -1)
            if entry >= 0:
                self.lane.write(entry, bytes(256))
            return
        # The program has its own memory of acknowledgements that came in a row.
        session.storm = None
        record = record_of(session, is_held=not is_plain(session))
        if session in self._entries:
            self.lane.write(self._entries[session], encode(record))
        else:
            self._entries[session] = entry = len(self._entries)
            self.lane.insert(entry, record)

    def _check_untouched(self, raw: bytes, judged: Judged, entry: int, before: bytes) -> None:
        (reason,) = judged.counted
        assert reason.startswith("up_"), judged
        assert not judged.traffic, judged
        assert judged.raw == raw
        if entry >= 0:
            assert self.lane.bytes_of(entry)[:216] == before[:216], f"changed by a packet that went up: {judged.counted}"

    def _check_carried(self, received: bytes, judged: Judged, verdict: Verdict, direction: int, session: Session) -> None:
        if judged.verdict == DROPPED:
            assert (verdict, set(judged.counted)) == (STORM, {"storm"})
            return
        assert (judged.verdict, judged.counted["carried"]) == (CARRIED, 1)
        assert verdict is (TO_CLIENT if direction else TO_REAL_SERVER), (verdict, judged)
        assert judged.traffic == {2 * session.real_server.slot + direction: (1, len(received))}

    def _check_bytes(self, raw: bytes, received: bytes, judged: Judged) -> None:
        """`raw` is what the program got, `received` what the shard got: they may differ in what is missing in the checksum."""
        assert judged.raw[10:12] != b"\xff\xff", "the unusual form of zero"
        wanted, got = in_other_numbers(a_hop_later(self.world.shard.output.rewritten)), in_other_numbers(judged.raw)
        missing = transport_checksum(received) - transport_checksum(raw)
        got = with_transport_checksum(got, (transport_checksum(got) + missing) % MODULUS)
        assert got == wanted, f"\ngot    {got[:80].hex()}\nwanted {wanted[:80].hex()}\nfrom   {raw[:80].hex()}"

    def _check_record(self, session: Session, before: bytes) -> None:
        entry = self._entries[session]
        got, wanted = self.lane.record(entry), record_of(session, is_held=False)
        assert got.last_seen_ns
        got = got._replace(last_seen_ns=0, **{f"{side}_next_seq": getattr(got, f"{side}_next_seq") & MASK for side in _SIDES})
        wanted = wanted._replace(**{f"{side}_next_seq": getattr(wanted, f"{side}_next_seq") & MASK for side in _SIDES})
        if not got.flags & Flags.IS_OPENING:  # the shard has forgotten what only its opening needed
            got = got._replace(flags=got.flags & ~Flags.HAS_ANSWER, rs_first_seq=None)
        assert got == wanted, [(name, *both) for name, *both in zip(got._fields, got, wanted, strict=True) if both[0] != both[1]]
        has_moved = self.lane.bytes_of(entry)[4:8] != before[4:8]
        assert self.lane.changed[entry] == has_moved
        self.lane.changed[entry] = 0


_SIDES = ("client", "rs")


def with_shifts(session: Session, inbound: int, outbound: int) -> None:
    """Give a joined session other window shifts, as if its ends had scaled otherwise."""
    there, back = (session.record(direction) for direction in Direction)
    session.records = packed(
        there._replace(window_shift=inbound), back._replace(window_shift=outbound), session.isn, session.opened_ms
    )
