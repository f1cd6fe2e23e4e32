"""A session and its record in the lane's table (`ipc.session_record`): written there, brought back, and rebuilt from it.

While a session has an entry, its words are those of the record: Python and the kernel's program read and write the same memory.
All else is copied: to the record when Python lets go of the session, and back when Python takes hold of it.
"""

from array import array
from struct import Struct
from typing import Any

from appliance.ipc.lane_layout import FLOW, FLOW_BYTES, LOW_PORT_BYTE, flow
from appliance.ipc.session_record import (
    ENDS,
    FIELDS,
    OFFSETS,
    RECORD_BYTES,
    VERSION,
    WORDS_END,
    WORDS_START,
    Flags,
    SessionRecord,
)
from appliance.model.tcp_state import FIRST, IN, UDP_STATE, TcpState
from appliance.state.progress import CLIENT_ACKED, CLIENT_NEXT_SEQ, RS_ACKED, RS_NEXT_SEQ
from appliance.state.real_server import RealServer
from appliance.state.rewrite_record import RewriteRecord, ends_in, packed, parts_in, rewrite_records
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.wire import craft
from appliance.wire.flow import Direction, destination_of, flow_key, source_of
from appliance.wire.layout import MOST_WINDOW, PROTO_TCP, PROTO_UDP, SYN
from appliance.wire.seq import add

CELL_BYTES = 4
CELLS = RECORD_BYTES // CELL_BYTES
"""A record's size in cells: 32-bit words, each of which is read and written whole."""

STATE_CELL, HELD_CELL, ISN_CELL, RS_FIRST_SEQ_CELL, SLOT_CELL = (
    OFFSETS[field] // CELL_BYTES for field in ("state", "held", "isn", "rs_first_seq", "slot")
)
"""Places of cells in a record. That of the state has the flags above it."""

_OPENED_LOW_CELL, _CLIENT_ISN_CELL, _SEQ_IN_CELL, _SEQ_OUT_CELL = (
    OFFSETS[field] // CELL_BYTES for field in ("opened_low", "client_isn", "inbound_seq_delta", "outbound_seq_delta")
)

_FLAGS_SHIFT = 8
STATE_MASK = (1 << _FLAGS_SHIFT) - 1

WORD_BYTES = 8
LAST_SEEN_WORD = OFFSETS["last_seen_ns"] // WORD_BYTES
LONGS = RECORD_BYTES // WORD_BYTES
"""A record's size in 64-bit words; and where, among them, is the one that says when its last packet came."""

NS_PER_S = 1_000_000_000

_IS_OPENING, _HAS_ANSWER = int(Flags.IS_OPENING), int(Flags.HAS_ANSWER)
_IN_FIRST_TABLE, _HAS_COOKIE = int(Flags.IN_FIRST_TABLE), int(Flags.HAS_COOKIE)
_WAS_RESET = int(Flags.WAS_RESET)

IN_ITS_OPENING = _IS_OPENING << _FLAGS_SHIFT
"""What the cell of its state has for a session in its opening."""

_LOW_MASK = (1 << 32) - 1
_LATER = 1 << 31
_OVER = (int(TcpState.TIME_WAIT), int(TcpState.CLOSE))

_ends_in_record = ENDS.unpack_from
_ENDS_AT = OFFSETS["client_address"]
_VERSION_MASK = 0xFFFF
"""Of the first cell of a record."""

_FAMILY = 4
"""Of the sessions that the packet path carries."""

_both_flows = Struct(FLOW.format + FLOW.format.removeprefix("<")).pack
_SLOT_AT = FLOW_BYTES + LOW_PORT_BYTE
"""Where in both flows of a session the low byte of its local port is, the destination of its real server's packets."""

_CLIENT = tuple(
    (OFFSETS[name], size)
    for name, size in (
        ("client_address", 4),
        ("client_port", 2),
        ("client_isn", 4),
        ("isn", 4),
        ("opened_high", 2),
        ("opened_low", 4),
    )
)
"""Place and size of what the kernel writes of a client, and of the moment; and of the number that the real server is shown."""

_BEFORE_WORDS = "".join(code for name, code in FIELDS if OFFSETS[name] < WORDS_START)
_WHOLE = Struct(f"<{_BEFORE_WORDS}{WORDS_END - WORDS_START}s{RECORD_BYTES - WORDS_END}x")
"""A record, with its words as bytes; what is of the kernel alone is zero."""
_WORDS = slice(SessionRecord._fields.index("client_acked"), None)
"""The words of a record, which are its last fields."""


def words_of(longs: memoryview, entry: int) -> memoryview:
    """The ten words of `state.progress` in the record of an entry. `longs` are all records, as 64-bit words."""
    start = entry * LONGS
    return longs[start + WORDS_START // WORD_BYTES : start + WORDS_END // WORD_BYTES]


def flags_of(session: Session, before: int) -> int:
    """The flags of a session. `before` are those in its record: whether a real server has answered is told there once its session
    is no longer opening."""
    opening = session.opening
    if opening is None:
        flags = before & _HAS_ANSWER
    else:
        flags = _IS_OPENING | _HAS_ANSWER if opening.rs_first_seq is not None else _IS_OPENING
    if session.first_table == FIRST:
        flags |= _IN_FIRST_TABLE
    if session.was_reset:
        flags |= _WAS_RESET
    return flags | _HAS_COOKIE if session.cookie is not None else flags


def prepare_record(session: Session, records: memoryview, entry: int) -> None:
    """Write the record of a session whose client is not known yet: all zero, and so is its version."""
    write_record(session, records, entry, is_held=False, last_seen_ns=0, version=0)


def take_client(session: Session, records: memoryview, entry: int) -> None:
    """Give a session the client that the kernel has found for its record."""
    start = entry * RECORD_BYTES
    address, port, client_isn, isn, high, low = (records[start + at : start + at + size] for at, size in _CLIENT)
    client_key = flow_key(bytes(address) + bytes(port), source_of(session.leaving_key(Direction.OUTBOUND)))
    session.records = rewrite_records(
        client_key,
        session.leaving_key(Direction.INBOUND),
        int.from_bytes(client_isn, "little"),
        int.from_bytes(isn, "little"),
        int.from_bytes(high, "little") << 32 | int.from_bytes(low, "little"),
    )


def write_record(
    session: Session, records: memoryview, entry: int, *, is_held: bool, last_seen_ns: int, version: int = VERSION
) -> None:
    """Write the whole record of an entry. `records` are the bytes of all records."""
    (
        local, real_server, local_port, real_server_port, ip_in, transport_in, seq_in, ack_in, shift_in,
        vip, client, vip_port, client_port, ip_out, transport_out, seq_out, ack_out, shift_out, isn, opened_ms,
    ) = parts_in(session.records)  # fmt: skip
    protocol = PROTO_UDP if session.state == UDP_STATE else PROTO_TCP
    opening = session.opening
    _WHOLE.pack_into(
        records, entry * RECORD_BYTES, version, _FAMILY, protocol, session.state, flags_of(session, 0), b"",
        shift_in, shift_out, opened_ms >> 32 & 0xFFFF, is_held,
        client, vip, local, real_server, client_port, vip_port, local_port, real_server_port,
        ip_in, transport_in, ip_out, transport_out, seq_in, ack_in, seq_out, ack_out, add(isn, -seq_in), isn, session.cookie or 0,
        0 if opening is None else _seen_first_seq(opening, seq_out), session.real_server.slot,
        opened_ms & 0xFFFF_FFFF, last_seen_ns,
        session.words.tobytes(),
    )  # fmt: skip


def _seen_first_seq(opening: Opening, outbound_seq_delta: int) -> int:
    """The number of a real server's first byte, as the real server counts; 0 before it has answered."""
    first_seq = opening.rs_first_seq
    return 0 if first_seq is None else add(first_seq, -outbound_seq_delta)


def state_in(cells: memoryview, entry: int) -> int:
    """The state in the record of an entry."""
    return cells[entry * CELLS + STATE_CELL] & STATE_MASK


def client_isn_in(cells: memoryview, entry: int) -> int:
    """The number with which the client of an entry began."""
    isn: int = cells[entry * CELLS + _CLIENT_ISN_CELL]
    return isn


def age_ms(cells: memoryview, entry: int, now_ms: int) -> int:
    """How old the session of an entry is at `now_ms` of the monotonic clock, up to 24 days; less than 0 for one that was opened
    since."""
    age: int = (now_ms - cells[entry * CELLS + _OPENED_LOW_CELL]) & _LOW_MASK
    return age if age < _LATER else age - _LOW_MASK - 1


def is_closed(longs: memoryview, cells: memoryview, entry: int) -> bool:
    """Whether the session of an entry is over, and both sides have acknowledged all that the other one has sent, FIN and all."""
    at = entry * CELLS
    if cells[at + STATE_CELL] & STATE_MASK not in _OVER:
        return False
    words = entry * LONGS + WORDS_START // WORD_BYTES
    unacknowledged = longs[words + CLIENT_NEXT_SEQ] + cells[at + _SEQ_IN_CELL] - longs[words + RS_ACKED]
    unacknowledged_back = longs[words + RS_NEXT_SEQ] + cells[at + _SEQ_OUT_CELL] - longs[words + CLIENT_ACKED]
    return not (unacknowledged | unacknowledged_back) & _LOW_MASK


def write_moves(session: Session, cells: memoryview, entry: int) -> None:
    """Write what of a record changes while a session has the same numbers. The state and its flags, which the kernel moves as
    well, are written only when they differ."""
    at, opening = entry * CELLS, session.opening
    cells[at + SLOT_CELL] = session.real_server.slot
    if opening is not None:
        cells[at + RS_FIRST_SEQ_CELL] = _seen_first_seq(opening, session.record(Direction.OUTBOUND).seq_delta)
    before = cells[at + STATE_CELL]
    state = session.state | flags_of(session, before >> _FLAGS_SHIFT) << _FLAGS_SHIFT
    if state != before:
        cells[at + STATE_CELL] = state


def flows_of(session: Session) -> bytes:
    """The flows of arriving packets of a session's client and, behind it, of its real server, as the lane's table has them."""
    protocol = PROTO_UDP if session.service.protocol == "udp" else PROTO_TCP
    local, real_server, local_port, real_server_port, vip, client, vip_port, client_port = ends_in(session.records)
    return _both_flows(
        _FAMILY, protocol, b"", client_port, vip_port, client, vip,
        _FAMILY, protocol, b"", real_server_port, local_port, real_server, local,
    )  # fmt: skip


def flows_in(records: memoryview, entry: int) -> bytes:
    """The same flows of a session of TCP, out of the record of its entry."""
    client, vip, local, real_server, client_port, vip_port, local_port, real_server_port = _ends_in_record(
        records, entry * RECORD_BYTES + _ENDS_AT
    )
    return _both_flows(
        _FAMILY, PROTO_TCP, b"", client_port, vip_port, client, vip,
        _FAMILY, PROTO_TCP, b"", real_server_port, local_port, real_server, local,
    )  # fmt: skip


def is_session(cells: memoryview, entry: int) -> bool:
    """Whether the record of an entry is that of a session; `cells` are all records."""
    version: int = cells[entry * CELLS] & _VERSION_MASK
    return version == VERSION


def client_key_in(records: memoryview, entry: int) -> bytes:
    """The key of arriving packets of the client of a session, out of the record of its entry."""
    client, vip, _, _, client_port, vip_port, _, _ = _ends_in_record(records, entry * RECORD_BYTES + _ENDS_AT)
    key: bytes = client + vip + client_port + vip_port
    return key


def each(flows: bytes) -> tuple[bytes, bytes]:
    """Both flows of a session, each by itself."""
    return flows[:FLOW_BYTES], flows[FLOW_BYTES:]


def slot_in(flows: bytes) -> int:
    """The slot of a session with these flows: the low 8 bits of its local port."""
    return flows[_SLOT_AT]


def flow_of_segment(key: bytes) -> bytes:
    """The flow of arriving packets of TCP with this key."""
    return flow(_FAMILY, PROTO_TCP, source_of(key), destination_of(key))


def take_over_phases(session: Session, word: int, rs_first_seq: int) -> None:
    """Take over what the kernel knows of a session's opening. `word` is the cell of its state, `rs_first_seq` that cell."""
    flags, opening = word >> _FLAGS_SHIFT, session.opening
    if opening is not None:
        if not flags & _IS_OPENING:
            session.opening = None
        elif flags & _HAS_ANSWER and opening.rs_first_seq is None:
            opening.rs_first_seq = add(rs_first_seq, session.record(Direction.OUTBOUND).seq_delta)
            opening.syn = None
    if not flags & _IN_FIRST_TABLE:
        session.first_table = IN


def rebuilt(record: SessionRecord, service: VirtualService[Session], real_server: RealServer) -> Session:
    """The session that a record tells of, in no table and in state NONE, with words of its own.

    While its real server has not answered, it has a SYN without options in the place of the one that was sent: it is sent only
    behind a RST to an old socket of the real server. Raises ValueError for a record that no session has.
    """
    if record.family != _FAMILY:
        raise ValueError(f"session record: sessions of family {record.family} are not carried")
    if add(record.client_isn, record.inbound_seq_delta) != record.isn:
        raise ValueError(f"session record: client_isn {record.client_isn:#x} moved by its delta is not isn {record.isn:#x}")
    client_key = flow_key(record.client.packed, record.vip.packed)
    server_key = flow_key(record.local.packed, record.real_server.packed)
    session = Session(service, real_server, client_key, server_key, record.client_isn, record.isn)
    inbound, outbound = session.record(Direction.INBOUND), session.record(Direction.OUTBOUND)
    session.records = packed(
        _moved(inbound, record.inbound_seq_delta, record.inbound_ack_delta, record.inbound_window_shift),
        _moved(outbound, record.outbound_seq_delta, record.outbound_ack_delta, record.outbound_window_shift),
        record.isn,
        record.opened_ms,
    )
    session.cookie = record.cookie
    flags = int(record.flags)
    session.first_table = FIRST if flags & _IN_FIRST_TABLE else IN
    session.was_reset = bool(flags & _WAS_RESET)
    words: Any = record[_WORDS]
    session.words = array("Q", words)
    if flags & _IS_OPENING:
        opening = session.opening = Opening()
        if record.rs_first_seq is not None:
            opening.rs_first_seq = add(record.rs_first_seq, record.outbound_seq_delta)
        else:
            opening.syn = craft.segment(session.leaving_key(Direction.INBOUND), record.isn, 0, SYN, MOST_WINDOW)
    return session


def _moved(made: RewriteRecord, seq_delta: int, ack_delta: int, window_shift: int) -> RewriteRecord:
    return RewriteRecord(made.key, made.ip_delta, made.transport_delta, seq_delta, ack_delta, window_shift)


def is_plain(session: Session) -> bool:
    """Whether the kernel can carry a session: nothing of it is known to Python alone."""
    if session.challenge is not None or session.late_fin is not None or session.real_server.lets_go:
        return False
    opening = session.opening
    if opening is None:
        return session.state != TcpState.NONE and not session.is_unconfirmed
    return opening.handshake is None and (opening.syn is None or not opening.stale_answers)
