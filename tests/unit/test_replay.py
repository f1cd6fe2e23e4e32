"""replay.py: the command, from files to lines and exit codes."""

from pathlib import Path

import pytest

from appliance.__main__ import main
from appliance.replay import DIFFERENT
from appliance.wire.pcapng import file_head, packet_block
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp

CONFIG = str(Path(__file__).parents[2] / "etc" / "lvs.toml")
ACK = tcp(CLIENT, VIP, "A", seq=1, ack=2)
HEAD = file_head(("in", "out"), 3840)
SAME = "drop no_session (first packet)"


def block(comment: str, raw: bytes = ACK) -> bytes:
    return packet_block(0, 1_800_000_000.25, raw, len(raw), comment, is_outgoing=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.pcapng"


def replays(file: Path) -> int:
    return main(["replay", str(file), "--config", CONFIG])


def test_each_packet_is_a_line_and_differences_are_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(HEAD + block(SAME) + block("drop bad_cookie (synproxy)") + block("drop denied_drops (kernel rules)"))
    assert replays(file) == DIFFERENT
    out, err = capsys.readouterr()
    shown = "198.51.100.2:40000 > 203.0.113.10:80 [.] seq 1 ack 2 win 64240 len 0"
    assert out == (
        f"08:00:00.250000 {SAME}: {shown}\n"
        f"08:00:00.250000 {SAME}: {shown}   # the file says: drop bad_cookie (synproxy)\n"
        f"08:00:00.250000 not replayed (a rule of the kernel dropped it): {shown}\n"
    )
    assert err == "2 packets replayed, 1 not replayed, 1 with another verdict than in the file\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage", "it is neither pcapng nor pcap"),
        (HEAD + block(SAME)[:-3], "block 4: it ends in the middle of a block"),
    ],
)
def test_a_file_that_is_no_capture_is_a_clear_error(
    file: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    file.write_bytes(data)
    assert replays(file) == 1
    assert f"appliance: {file}: {words}" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_clear_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replays(file) == 1
    assert f"appliance: {file}: No such file or directory\n" in capsys.readouterr().err
