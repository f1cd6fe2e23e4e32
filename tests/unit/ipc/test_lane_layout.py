"""lane_layout.py and lane_counters.py: what the kernel's program and Python have to agree on, byte by byte."""

import re
from itertools import pairwise

import pytest

from appliance.ipc.lane_layout import (
    CHANGED_PAGE_BYTES,
    EVENTS,
    FLOW_BYTES,
    LEAST_ENTRIES,
    MOST_ENTRIES,
    REAL_SERVER,
    REAL_SERVER_FIELDS,
    SETTINGS,
    SETTINGS_FIELDS,
    SLOTS,
    STATE_COLUMNS,
    TABLES,
    TRAFFIC,
    USUAL_ENTRIES,
    entries_of_slot,
    flow,
    layout_hash,
    tcp_states,
)
from appliance.model.lane_counters import LANE_COUNTER_PLACE, LANE_COUNTERS
from appliance.model.tcp_state import NEXT, TcpState
from appliance.policy import steering
from appliance.wire.layout import FLAG_BITS, PROTO_TCP


def test_what_both_sides_have_to_agree_on_is_pinned() -> None:
    """Another hash is another VERSION."""
    assert layout_hash().hex() == "447da9fc564e55dd"


def test_sizes_are_multiples_of_a_word() -> None:
    assert [SETTINGS.size, REAL_SERVER.size, TRAFFIC.size, FLOW_BYTES] == [40, 8, 16, 40]
    assert len(SETTINGS_FIELDS) == 12
    assert [name for name, _ in REAL_SERVER_FIELDS] == ["mtu", "flags"]


def test_slots_are_those_of_steering() -> None:
    assert SLOTS == steering.SLOTS


@pytest.mark.parametrize("entries", [LEAST_ENTRIES, USUAL_ENTRIES, MOST_ENTRIES])
def test_each_entry_belongs_to_one_slot(entries: int) -> None:
    parts = [entries_of_slot(slot, entries) for slot in range(SLOTS)]
    assert parts[0].start == 0
    assert parts[-1].stop == entries
    assert all(len(part) == entries // SLOTS for part in parts)
    assert all(left.stop == right.start for left, right in pairwise(parts))
    assert entries % CHANGED_PAGE_BYTES == 0


def test_a_flow_is_family_protocol_ports_and_addresses() -> None:
    client, vip = bytes((198, 51, 100, 2)) + b"\x9c\x40", bytes((203, 0, 113, 10)) + b"\0P"
    written = flow(4, PROTO_TCP, client, vip)
    assert written.hex() == "04060000" + "9c400050" + "c6336402" + "00" * 12 + "cb00710a" + "00" * 12
    assert len(flow(6, PROTO_TCP, bytes(18), bytes(18))) == FLOW_BYTES == len(written)


def test_the_state_tables_of_the_kernel_are_those_of_python() -> None:
    tables = tcp_states()
    assert len(tables) == TABLES * len(EVENTS) * STATE_COLUMNS
    for table in range(TABLES):
        for row, flags in enumerate(EVENTS):
            start = (table * len(EVENTS) + row) * STATE_COLUMNS
            assert tables[start : start + len(TcpState)] == bytes(NEXT[table][flags])
            assert not any(tables[start + len(TcpState) : start + STATE_COLUMNS])


@pytest.mark.parametrize("flags", range(FLAG_BITS + 1))
def test_each_set_of_flags_is_one_of_the_events(flags: int) -> None:
    assert any(all(NEXT[table][flags] == NEXT[table][event] for table in range(TABLES)) for event in EVENTS)


def test_counters_have_names_that_can_stand_in_a_header() -> None:
    names = [counter.name for counter in LANE_COUNTERS]
    assert len(set(names)) == len(names) == len(LANE_COUNTER_PLACE)
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in names)
    assert all(counter.meaning for counter in LANE_COUNTERS)
