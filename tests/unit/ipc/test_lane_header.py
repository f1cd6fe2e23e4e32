"""lane_header.py: the C header says what Python says, and the constants that stand in C are those of Python."""

import re
from pathlib import Path

import pytest

from appliance.ipc.lane_header import header
from appliance.ipc.lane_layout import layout_hash
from appliance.ipc.session_record import OFFSETS, Flags
from appliance.model import syn_offer
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.tcp_state import TcpState
from appliance.nat import toa
from appliance.proxy import synproxy
from appliance.shard import closing
from appliance.state import progress
from appliance.wire import options

SOURCES = Path(__file__).parents[3] / "bpf"


def defined(name: str) -> int:
    """The value of a constant in the sources of the program."""
    text = "".join(path.read_text() for path in sorted(SOURCES.glob("*.h")))
    (value,) = re.findall(rf"^#define {name} \(?(?:0x)?(\w+?)u?(?: << (\d+))?\)?(?:\s.*)?$", text, re.MULTILINE)
    return int(value[0]) << int(value[1] or 0)


def test_every_field_has_its_place() -> None:
    text = header()
    for name, offset in OFFSETS.items():
        assert f"__builtin_offsetof(struct session_record, {name}) == {offset}, " in text


def test_names_have_the_numbers_of_python() -> None:
    text = header()
    for flag in Flags:
        assert f"#define {flag.name} {flag.value}\n" in text
    for place, counter in enumerate(LANE_COUNTERS):
        assert f"\tCOUNT_{counter.name.upper()} = {place},\n" in text
    for state in TcpState:
        assert f"\tTCP_STATE_{state.name} = {state.value},\n" in text
    assert "".join(f"\\x{byte:02x}" for byte in layout_hash()) in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENT_REACH", progress.SENT_REACH),
        ("OLD_ACK_REACH", progress.OLD_ACK_REACH),
        ("MOST_IN_FLIGHT", closing.MOST_IN_FLIGHT),
        ("NEW_CONNECTION_REACH", synproxy._REACH_BYTES),
        ("CLIENT_OPTION_BYTES", toa.OPTION_BYTES),
        ("LEAST_MSS", syn_offer.LEAST_MSS),
        ("CLIENT_OPTION_BYTES", syn_offer.CLIENT_OPTION_BYTES),
        ("MOST_OPTIONS", options.MOST_BYTES),
    ],
)
def test_rules_that_stand_in_both_languages_have_the_same_numbers(name: str, value: int) -> None:
    assert defined(name) == value
