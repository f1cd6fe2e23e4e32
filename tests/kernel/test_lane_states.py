"""The state table in the kernel, all of it: three tables, sixty-four sets of flags, eleven states."""

from collections import Counter

import pytest

from appliance.ipc.session_record import Endpoint, Flags, SessionRecord
from appliance.model.tcp_state import FIRST, IN, NEXT, OUT, TcpState
from appliance.shard.sanity import HEADERS_BYTES
from appliance.wire.flow import destination_of, flow_key, source_of
from appliance.wire.layout import ACK, LEAST_OFFSET_FLAGS, PROTO_TCP, RST, SYN
from tests.kernel.lane import CARRIED, UP, Lane
from tests.support.addresses import CLIENT, LIP1, RS1, VIP
from tests.support.segments import tcp

LOCAL = LIP1.packed + (5000).to_bytes(2, "big")
LETTERS = "FSRPAU"
C1, R1, ISN = 1_001, 70_001, 5_000

ENTRY = 7


def endpoint(end: bytes) -> Endpoint:
    return Endpoint(end[:4], int.from_bytes(end[4:], "big"))


RECORD = SessionRecord(
    family=4, protocol=PROTO_TCP, state=0, flags=Flags(0), inbound_window_shift=0, outbound_window_shift=0, is_held=False,
    client=endpoint(CLIENT), vip=endpoint(VIP), local=endpoint(LOCAL), real_server=endpoint(RS1),
    inbound_seq_delta=ISN + 1 - C1, inbound_ack_delta=0, outbound_seq_delta=0, outbound_ack_delta=(C1 - ISN - 1) % 2**32,
    client_isn=C1 - 1, isn=ISN, cookie=None, rs_first_seq=None, slot=0, opened_ms=0, last_seen_ns=0,
    client_acked=R1, client_next_seq=C1, client_window=0, inbound_packets=0, inbound_bytes=0,
    rs_acked=ISN + 1, rs_next_seq=R1, rs_window=0, outbound_packets=0, outbound_bytes=0,
)  # fmt: skip


@pytest.mark.parametrize("table", [IN, OUT, FIRST], ids=["in", "out", "first"])
def test_every_state_and_every_set_of_flags(lane: Lane, table: int) -> None:
    """What is carried moves as the table says. All that makes sense and neither opens nor resets is carried; nothing else is."""
    direction = int(table == OUT)
    source, destination = (RS1, LOCAL) if direction else (CLIENT, VIP)
    seq, ack = (R1, ISN + 1) if direction else (C1, R1)
    told = Counter[int]()
    lane.clear()
    lane.set()
    for state in TcpState:
        for flags in range(64):
            record = RECORD._replace(state=state, flags=Flags.IN_FIRST_TABLE if table == FIRST else Flags(0))
            lane.insert(ENTRY, record)
            letters = "".join(letter for bit, letter in enumerate(LETTERS) if flags >> bit & 1)
            judged = lane.put(tcp(source, destination, letters, seq=seq, ack=ack), direction)
            is_normal = LEAST_OFFSET_FLAGS | flags in HEADERS_BYTES and flags & (SYN | RST | ACK) == ACK
            told[judged.verdict] += 1
            assert judged.verdict == (CARRIED if is_normal else UP), (state, letters, judged)
            assert lane.record(ENTRY).state == (NEXT[table][flags][state] if is_normal else state), (state, letters)
            assert lane.changed[ENTRY] == (lane.record(ENTRY).state != state), (state, letters)
            lane.changed[ENTRY] = 0
    assert told == {CARRIED: 8 * 11, UP: 56 * 11}


def test_the_two_flows_of_a_session_are_found_and_no_other(lane: Lane) -> None:
    lane.clear()
    lane.insert(ENTRY, RECORD._replace(state=TcpState.ESTABLISHED))
    keys = (flow_key(CLIENT, VIP), flow_key(RS1, LOCAL))
    for direction, key in enumerate(keys):
        ends = source_of(key), destination_of(key)
        seq, ack = (R1, ISN + 1) if direction else (C1, R1)
        assert lane.put(tcp(*ends, "A", seq=seq, ack=ack), direction).verdict == CARRIED
        for place in range(12):  # one bit of each byte
            other = key[:place] + bytes((key[place] ^ 1,)) + key[place + 1 :]
            judged = lane.put(tcp(source_of(other), destination_of(other), "A", seq=seq, ack=ack), direction)
            assert judged.counted == {"up_no_session": 1}, (direction, place)


def test_a_flow_that_leads_to_an_entry_of_another_session_is_of_none(lane: Lane) -> None:
    """For a moment a program on another CPU may hold the number of an entry that has a new session."""
    lane.clear()
    lane.insert(ENTRY, RECORD._replace(state=TcpState.ESTABLISHED))
    other = RECORD._replace(state=TcpState.ESTABLISHED, client=endpoint(CLIENT)._replace(port=1))
    lane.insert(ENTRY, other)
    assert lane.put(tcp(CLIENT, VIP, "A", seq=C1, ack=R1), 0).counted == {"up_no_session": 1}
    lane.write(ENTRY, bytes(256))
    assert lane.put(tcp(RS1, LOCAL, "A", seq=R1, ack=ISN + 1), 1).counted == {"up_no_session": 1}
