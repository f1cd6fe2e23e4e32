"""log_line.py: the lines of the session log, letter by letter."""

import json

from hypothesis import given
from hypothesis import strategies as st

from appliance.edge.line_output import LONGEST_LINE_BYTES
from appliance.ipc.rows import SessionEnd
from appliance.sessions.log_line import left_out_line, session_line

END = SessionEnd(
    "web", "tcp", "198.51.100.2:40000", "203.0.113.10:80", "192.0.2.10:5000", "192.0.2.101:8080", "TIME_WAIT", "expired", "fin",
    False, 1_000_250, 1_005_375, 5, 500, 6, 60_000,
)  # fmt: skip
EPOCH_MS = 1_795_701_600_000 - 1_000_000


def test_a_session() -> None:
    assert session_line(END, EPOCH_MS) == (
        b'{"event":"session","opened":"2026-11-26T14:00:00.250Z","ended":"2026-11-26T14:00:05.375Z","duration_s":5.125,'
        b'"service":"web","protocol":"tcp","client":"198.51.100.2:40000","vip":"203.0.113.10:80","local":"192.0.2.10:5000",'
        b'"real_server":"192.0.2.101:8080","in_packets":5,"in_bytes":500,"out_packets":6,"out_bytes":60000,"proxied":false,'
        b'"state":"TIME_WAIT","reason":"expired","closed_by":"fin"}\n'
    )


def test_one_that_nobody_has_closed() -> None:
    assert b'"closed_by":null}' in session_line(END._replace(closed_by=""), EPOCH_MS)


def test_how_many_had_no_line() -> None:
    assert left_out_line(17, EPOCH_MS + 1_000_250) == b'{"event":"left_out","time":"2026-11-26T14:00:00.250Z","sessions":17}\n'


@given(st.text(max_size=5000), st.sampled_from((0, 1, 2**48 - 1)), st.sampled_from((0, 2**64 - 1)), st.integers(-(2**63), 2**63))
def test_a_line_is_one_line_of_json_that_a_pipe_takes_at_once(name: str, moment_ms: int, number: int, epoch_ms: int) -> None:
    end = END._replace(
        service="".join(c for c in name if c.isascii()),
        opened_ms=moment_ms,
        ended_ms=moment_ms,
        in_bytes=number,
        out_bytes=number,
    )
    line = session_line(end, epoch_ms)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= LONGEST_LINE_BYTES
    assert json.loads(line)["in_bytes"] == number
