"""tcp_state.py: the whole table against LVS behaviour 6.1, written there row by state, here column by event."""

import pytest

from appliance.model.tcp_state import EVENT, FIRST, IN, NEXT, OUT, TIMEOUT_NAME, UDP_STATE, TcpState
from appliance.model.tunables import TUNABLES
from appliance.wire.layout import ACK, FIN, PSH, RST, SYN, URG

# from: IN syn, fin, ack, rst | OUT syn, fin, ack, rst | FIRST syn, fin, ack, rst
LVS = """
NONE        SR CL CL CL SS TW ES CL SR CL CL CL
ESTABLISHED ES CW ES CL ES FW ES CL ES FW ES CL
SYN_SENT    ES SS SS CL SS SS SS SS ES SS SS CL
SYN_RECV    SR TW ES SR SR TW ES CL SR TW ES SR
FIN_WAIT    SR TW FW CL SS FW FW CL SR FW FW CL
TIME_WAIT   SR TW TW CL SS TW TW TW SR TW TW CL
CLOSE       SR CL CL CL SS CL CL CL SR CL CL CL
CLOSE_WAIT  SR CW CW CL SS TW CW CL SR CW CW CL
LAST_ACK    SR LA CL LA SS LA LA CL SR LA CL LA
LISTEN      SR LI LI LI LI LI ES CL SR LI LI LI
SYNACK      SR TW ES SR SR TW ES CL SR TW ES CL
"""

OURS = {
    ("FIN_WAIT", IN, FIN): "LA",  # both have sent FIN, the real server's ACK is outstanding
    ("CLOSE_WAIT", OUT, FIN): "LA",  # both have sent FIN, the client's ACK is outstanding
    ("LAST_ACK", OUT, ACK): "TW",  # the real server's last ACK: its own TIME_WAIT begins
    ("SYN_RECV", IN, RST): "CL",  # the client refuses the real server's answer
    ("FIN_WAIT", OUT, SYN): "FW",  # a late SYN-ACK changes nothing in a closing state
    ("TIME_WAIT", OUT, SYN): "TW",
    ("CLOSE", OUT, SYN): "CL",
    ("CLOSE_WAIT", OUT, SYN): "CW",
    ("LAST_ACK", OUT, SYN): "LA",
}
"""Where we differ from LVS, on purpose."""

SHORT = {
    "NO": "NONE", "ES": "ESTABLISHED", "SS": "SYN_SENT", "SR": "SYN_RECV", "FW": "FIN_WAIT", "TW": "TIME_WAIT", "CL": "CLOSE",
    "CW": "CLOSE_WAIT", "LA": "LAST_ACK", "LI": "LISTEN", "SA": "SYNACK",
}  # fmt: skip


def _rows() -> list[tuple[str, int, int, str]]:
    rows = []
    for line in LVS.split("\n"):
        if not line:
            continue
        state, *cells = line.split()
        keys = [(table, flag) for table in (IN, OUT, FIRST) for flag in (SYN, FIN, ACK, RST)]
        rows += [
            (state, table, flag, OURS.get((state, table, flag), cell)) for (table, flag), cell in zip(keys, cells, strict=True)
        ]
    return rows


@pytest.mark.parametrize(("state", "table", "flag", "expected"), _rows())
def test_every_cell(state: str, table: int, flag: int, expected: str) -> None:
    assert TcpState(NEXT[table][flag][TcpState[state]]).name == SHORT[expected]


@pytest.mark.parametrize(
    ("flags", "like"), [(RST | SYN | FIN | ACK, RST), (SYN | ACK, SYN), (FIN | ACK | PSH, FIN), (ACK | PSH, ACK)]
)
def test_reset_beats_syn_beats_fin_beats_ack(flags: int, like: int) -> None:
    assert EVENT[flags] == EVENT[like]


@pytest.mark.parametrize("flags", [0, PSH, URG])
def test_a_segment_without_any_of_them_closes(flags: int) -> None:
    assert {NEXT[table][flags][state] for table in (IN, OUT, FIRST) for state in TcpState} == {TcpState.CLOSE}


def test_every_state_but_the_first_has_its_tunable() -> None:
    assert set(TIMEOUT_NAME) == (set(TcpState) - {TcpState.NONE}) | {UDP_STATE}
    assert set(TIMEOUT_NAME.values()) == {name for name in TUNABLES if name.startswith("tcp_timeout_")} | {"udp_timeout"}


def test_last_ack_can_be_reached() -> None:
    assert any(TcpState.LAST_ACK in row for table in NEXT for row in (table[FIN][:8],))
