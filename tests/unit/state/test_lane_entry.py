"""lane_entry.py: a session written into its record is what the record's own definition says, and is rebuilt from it."""

from array import array
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.lane_layout import SLOTS, flow
from appliance.ipc.session_record import RECORD_BYTES, Endpoint, Flags, SessionRecord, decode, encode
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.state.lane_entry import each, flows_of, rebuilt, slot_in, take_over_phases, words_of, write_moves, write_record
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.wire.flow import Direction
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from appliance.wire.seq import add

ENTRY = 3


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


@st.composite
def records(draw: st.DrawFn) -> SessionRecord:
    """A record of any session that may be in the lane."""
    is_udp = draw(st.booleans())
    cookie = None if is_udp else draw(st.none() | unsigned(32))
    is_opening = not is_udp and draw(st.booleans())
    first_seq = draw(unsigned(32) | st.none()) if is_opening and cookie is None else draw(unsigned(32)) if is_opening else None
    flags = Flags.IS_OPENING if is_opening else Flags(0)
    flags |= Flags.HAS_ANSWER if first_seq is not None else Flags(0)
    flags |= Flags.HAS_COOKIE if cookie is not None else Flags(0)
    flags |= draw(st.sampled_from((Flags.IN_FIRST_TABLE, Flags.WAS_RESET, Flags(0))))
    endpoints = st.builds(Endpoint, st.binary(min_size=4, max_size=4), unsigned(16))
    client_isn, isn = draw(unsigned(32)), draw(unsigned(32))
    shifts, deltas = [draw(st.integers(-14, 14)) for _ in range(2)], [draw(unsigned(32)) for _ in range(3)]
    return SessionRecord._make(
        (
            4, PROTO_UDP if is_udp else PROTO_TCP, UDP_STATE if is_udp else draw(st.sampled_from(TcpState)), flags, *shifts,
            False, *(draw(endpoints) for _ in range(4)), add(isn, -client_isn), *deltas, client_isn, isn, cookie, first_seq,
            draw(unsigned(32)), draw(unsigned(48)), draw(unsigned(63)),
            *(draw(unsigned(bits)) for bits in 2 * (32, 64, 16, 64, 64)),
        )
    )  # fmt: skip


def session_of(record: SessionRecord) -> Session:
    session = rebuilt(record, Mock(), Mock(slot=record.slot))
    session.state = record.state
    return session


@given(records())
def test_a_session_that_was_rebuilt_is_written_as_its_record_was(record: SessionRecord) -> None:
    memory = memoryview(bytearray(8 * RECORD_BYTES))
    write_record(session_of(record), memory, ENTRY, is_held=record.is_held, last_seen_ns=record.last_seen_ns)
    assert decode(bytes(memory[ENTRY * RECORD_BYTES : (ENTRY + 1) * RECORD_BYTES])) == record
    assert memory[ENTRY * RECORD_BYTES : (ENTRY + 1) * RECORD_BYTES] == encode(record)
    assert not any(memory[: ENTRY * RECORD_BYTES])
    assert not any(memory[(ENTRY + 1) * RECORD_BYTES :])


def record_of_one(**changes: object) -> SessionRecord:
    ends = [Endpoint(bytes((192, 0, 2, number)), 1000 + number) for number in range(4)]
    record = SessionRecord._make(
        (4, PROTO_TCP, int(TcpState.SYN_RECV), Flags.IS_OPENING | Flags.IN_FIRST_TABLE, 0, 0, False, *ends, 100, 0, 0,
         2**32 - 100, 5, 105, None, None, 1, 0, 0, *range(10))
    )  # fmt: skip
    return record._replace(**changes)  # type: ignore[arg-type]


@given(records())
def test_its_flows_are_those_of_its_ends_and_say_its_slot(record: SessionRecord) -> None:
    session = session_of(record)
    session.service.protocol = "udp" if record.protocol == PROTO_UDP else "tcp"
    flows = flows_of(session)
    assert each(flows) == (
        flow(4, record.protocol, record.client.packed, record.vip.packed),
        flow(4, record.protocol, record.real_server.packed, record.local.packed),
    )
    assert slot_in(flows) == record.local.port % SLOTS


def test_one_without_an_answer_has_a_syn_that_can_be_sent_again() -> None:
    session = session_of(record_of_one())
    assert session.opening is not None
    syn = session.opening.syn or b""
    assert (syn[12:24], syn[24:28], syn[33]) == (session.leaving_key(Direction.INBOUND), (105).to_bytes(4, "big"), 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"client_isn": 6}, "client_isn 0x6 moved by its delta is not isn 0x69"), ({"family": 6}, "family 6 are not carried")],
)
def test_a_record_that_no_session_has_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        session_of(record_of_one(**changes))


def test_what_the_kernel_says_of_an_opening_is_taken_over() -> None:
    session = session_of(record_of_one(outbound_seq_delta=10))
    state = int(TcpState.SYN_RECV)
    take_over_phases(session, state | (Flags.IS_OPENING | Flags.IN_FIRST_TABLE) << 8, 0)
    assert session.opening is not None
    assert session.opening.rs_first_seq is None
    assert session.first_table == 2
    take_over_phases(session, state | (Flags.IS_OPENING | Flags.HAS_ANSWER) << 8, 70)
    assert [session.opening.rs_first_seq, session.opening.syn, session.first_table] == [80, None, 0]
    take_over_phases(session, state | Flags.HAS_ANSWER << 8, 70)
    assert session.opening is None


def test_an_answer_stays_in_the_record_when_the_opening_is_over() -> None:
    """The kernel left it there; whoever adopts the session reads a record in which everything fits."""
    memory = memoryview(bytearray(RECORD_BYTES))
    session = session_of(record_of_one())
    session.opening = Opening()
    session.opening.rs_first_seq = 77
    write_record(session, memory, 0, is_held=False, last_seen_ns=0)
    session.opening = None
    write_moves(session, memory.cast("I"), 0)
    record = decode(bytes(memory))
    assert (record.flags, record.rs_first_seq) == (Flags.HAS_ANSWER | Flags.IN_FIRST_TABLE, 77)
    assert array("Q", words_of(memory.cast("Q"), 0)) == array("Q", range(10))
