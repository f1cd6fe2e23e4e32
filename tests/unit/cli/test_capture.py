"""cli/capture.py: what is in the file, who can read it, and when it ends."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from appliance.cli.api_client import ApiError
from appliance.cli.trace import _read
from appliance.ipc.queries import SNAP_MAX
from appliance.ipc.traced import Change
from appliance.wire.pcapng import REMARK_MAX, Captured, Remark, read_all, read_packets
from tests.support.traced import ACK, BATCH
from tests.unit.cli.conftest import Operator

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

CLIENT = ("--client", "198.51.100.2")


def read(file: Path) -> list[Captured]:
    with file.open("rb") as stream:
        return list(read_packets(stream))


async def test_the_file_has_what_came_in_and_what_went_out_with_verdicts_as_comments(operator: Operator, tmp_path: Path) -> None:
    operator.gateway.traces.batches = [BATCH]
    file = tmp_path / "c.pcapng"
    printed = await operator.types("capture", str(file), *CLIENT)
    assert (printed.code, printed.out) == (0, "")
    assert printed.err == (f"appliance: packets of shard 3 are missing\n3 packets in {file}, 7 more were too many\n")
    found = [(packet.at_s, packet.interface, packet.data, packet.whole_bytes, packet.comment) for packet in read(file)]
    own = "of the appliance's own, because of: "
    assert found == [
        (1_800_000_000.25, "in", ACK, 40, "drop no_session (first packet)"),
        (1_800_000_000.25, "out", b"\xff", 1, f"{own}drop no_session (first packet)"),
        (1_800_000_000.5, "in", ACK, 40, "rewritten to_real_server (session)"),
        (1_800_000_000.5, "out", b"\1\2", 99, "as it went on: rewritten to_real_server (session)"),
        (1_800_000_000.5, "out", b"\xff", 1, f"{own}rewritten to_real_server (session)"),
        (1_800_000_001.0, "in", ACK, 40, "drop defence_tcp_drop (kernel rules)"),
        (1_800_000_001.0, "out", b"\xff", 1, f"{own}drop defence_tcp_drop (kernel rules)"),
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert operator.gateway.traces.wanted[0].snap_bytes == SNAP_MAX


async def test_the_file_has_what_is_in_force_and_by_which_queue_each_packet_came(operator: Operator, tmp_path: Path) -> None:
    what = {"gateway": {"shards": 2}}
    operator.gateway.traces.batches = [BATCH._replace(changes=[Change(1_800_000_000.4, what)])]
    file = tmp_path / "c.pcapng"
    printed = await operator.types("capture", str(file), *CLIENT)
    assert "3 packets in" in printed.err
    with file.open("rb") as stream:
        found = [one for one in read_all(stream) if isinstance(one, Remark) or one.interface == "in"]
    assert [one if isinstance(one, Remark) else one.queue for one in found] == [
        1,
        Remark(1_800_000_000.4, 'appliance in force 1: {"gateway":{"shards":2}}'),
        0,
        None,
    ]
    assert operator.gateway.traces.with_changes


@pytest.mark.parametrize(("size", "options"), [(REMARK_MAX, ()), (1100, ("--max-bytes", "2000"))])
async def test_what_is_in_force_is_left_out_with_a_word_when_it_is_too_long(
    operator: Operator, tmp_path: Path, size: int, options: tuple[str, ...]
) -> None:
    """The packets are in the file all the same."""
    operator.gateway.traces.batches = [BATCH._replace(changes=[Change(1.0, {"service": "x" * size})])]
    file = tmp_path / "c.pcapng"
    printed = await operator.types("capture", str(file), *CLIENT, *options)
    assert len(read(file)) == 7
    assert "appliance: the configuration is too long for the file; a replay needs --config\n" in printed.err
    assert file.stat().st_size < 2000


async def test_a_full_file_ends_the_capture_and_is_whole(operator: Operator, tmp_path: Path) -> None:
    operator.gateway.traces.batches = [BATCH] * 1000
    file = tmp_path / "c.pcapng"
    await operator.types("capture", str(file), *CLIENT, "--max-bytes", "1000", "--snap-bytes", "80")
    assert file.stat().st_size <= 1000
    assert 3 < len(read(file)) < 12
    assert operator.gateway.traces.wanted[0].snap_bytes == 80


async def test_a_file_that_is_there_stays_as_it_is(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "c.pcapng"
    file.write_text("precious")
    printed = await operator.types("capture", str(file), *CLIENT)
    assert (printed.code, printed.err) == (1, f"appliance: cannot make the file '{file}': File exists\n")
    assert file.read_text() == "precious"
    assert operator.gateway.traces.wanted == []


async def test_a_refusal_leaves_a_file_without_packets(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "c.pcapng"
    printed = await operator.types("capture", str(file), *CLIENT, "--snap-bytes", "5")
    assert (printed.code, "snap_bytes: 5 is out of range 80..3840" in printed.err) == (1, True)
    assert read(file) == []


@pytest.mark.parametrize("size", ["999", "-1", "x", "9" * 16])
async def test_a_size_that_makes_no_sense_is_refused(operator: Operator, tmp_path: Path, size: str) -> None:
    with pytest.raises(SystemExit):
        await operator.types("capture", str(tmp_path / "c"), *CLIENT, "--max-bytes", size)
    assert not (tmp_path / "c").exists()


async def test_standard_output_can_have_it(operator: Operator) -> None:
    operator.gateway.traces.batches = [BATCH]
    process = await operator.starts("capture", "-", *CLIENT, stdout=-1)
    out, err = await process.communicate()
    assert out.startswith(b"\x0a\x0d\x0d\x0a")
    assert b"3 packets in -" in err


async def test_what_a_note_says_does_not_command_the_terminal(operator: Operator, tmp_path: Path) -> None:
    operator.gateway.traces.batches = [BATCH._replace(notes=["x\x1b]0;evil\x07\x1b[2K"])]
    printed = await operator.types("capture", str(tmp_path / "c.pcapng"), *CLIENT)
    assert "\x1b" not in printed.err
    assert "evil" in printed.err


class Stream:
    """An answer that is no stream of an appliance, maybe."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        yield from self._pieces


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b"[" * 100_000])
def test_an_item_that_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(ApiError, match="is not a stream of an appliance"):
        list(_read(cast("Answer", Stream(b"data: " + line + b"\n"))))


def test_an_item_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.cli.trace._LINE_MAX", 1000)
    with pytest.raises(ApiError, match="is not a stream of an appliance"):
        list(_read(cast("Answer", Stream(*[b"x" * 300] * 4))))
    assert list(_read(cast("Answer", Stream(b"data: {}", b"\n", *[b"x" * 300] * 3)))) == [{}]


@pytest.mark.parametrize("item", [{}, {"kind": "packet"}, {"kind": "in-force"}, {"kind": "left-out", "packets": "x"}])
async def test_an_item_that_lacks_something_is_refused(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: dict[str, Any]
) -> None:
    monkeypatch.setattr("appliance.cli.capture.items", lambda *_: iter([item]))
    printed = await operator.types("capture", str(tmp_path / "c.pcapng"), *CLIENT)
    assert printed.code == 1
    assert "the answer is not one of an appliance of this version" in printed.err
