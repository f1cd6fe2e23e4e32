"""``appliance capture``: the packets of some clients in a file, with verdict and reason as the comment of each."""

import argparse
import os
import sys
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, BinaryIO

from appliance.cli.operator import add_command, made_of_json
from appliance.cli.output import complain
from appliance.cli.trace import add_filter, items
from appliance.ipc.in_force import as_remark
from appliance.ipc.queries import SNAP_MAX
from appliance.views.trace import IN_FORCE, LEFT_OUT, NOTE, PACKET, verdict_words
from appliance.wire.layout import IP_HEADER_BYTES, TOTAL_LENGTH
from appliance.wire.pcapng import REMARK_MAX, file_head, packet_block, remark_block

IN, OUT = "in", "out"
"""Names of the interfaces: packets as they came, and those that the appliance sent on or made itself."""

MAX_BYTES = 100_000_000

_STANDARD_OUTPUT = "-"
_CAPTURE = f"""\
Write the packets of some clients to a pcapng file, which tcpdump, tshark and Wireshark read. The interface "{IN}" has packets as
they came, each with its verdict and reason as its comment; "{OUT}" has what went on, and packets that the appliance made itself.
FILE must not be there yet; - is standard output. It ends as appliance trace does, and when the file would be too long. Packets
that the lane carries are not in it.
"""


def add_capture(parser: argparse.ArgumentParser) -> None:
    """Add the options of `capture`."""
    add_command(
        parser, _capture, _CAPTURE, "capture client.pcapng --client 198.51.100.2", "capture - --client 198.51.100.2 > c.pcapng"
    )
    parser.add_argument("file", metavar="FILE", help="the file to write; - is standard output")
    add_filter(parser)
    parser.add_argument("--snap-bytes", metavar="N", default=str(SNAP_MAX), help=f"how much of each packet (default: {SNAP_MAX})")
    parser.add_argument(
        "--max-bytes", metavar="N", type=_bytes, default=MAX_BYTES, help=f"the greatest length of the file (default: {MAX_BYTES})"
    )


def _bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) >= 1000):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number of bytes from 1000 on")
    return int(text)


def _capture(options: argparse.Namespace) -> int:
    capture = _Capture(_opened(options.file), options)
    try:
        for item in items(options, "snap_bytes"):
            if not made_of_json(item, capture.add):
                break
    except KeyboardInterrupt:
        pass  # the usual end
    finally:
        capture.close()
    return 0


def _opened(name: str) -> BinaryIO:
    """A new file that only its owner can read, or standard output. Raises ApiError when there is such a file already."""
    from appliance.cli.api_client import ApiError

    if name == _STANDARD_OUTPUT:
        return sys.stdout.buffer
    try:
        return os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise ApiError(f"cannot make the file {name!r}: {error.strerror}") from error


class _Capture:
    """A file that is being written, up to its greatest length. What is written is always a whole capture."""

    def __init__(self, file: BinaryIO, options: argparse.Namespace) -> None:
        self._file = file
        self._name = options.file
        self._max_bytes = options.max_bytes
        self._bytes = self._packets = self._left_out = 0
        self._write(file_head((IN, OUT), SNAP_MAX))

    def add(self, item: dict[str, Any]) -> bool:
        """Write a packet, and say what is no packet; False when the file is full."""
        if item["kind"] == NOTE:
            complain(item["text"])
        elif item["kind"] == LEFT_OUT:
            self._left_out += item["packets"]
        else:
            blocks = _remark(item, self._max_bytes // 2) if item["kind"] == IN_FORCE else b"".join(_blocks(item))
            if self._bytes + len(blocks) > self._max_bytes:
                return False
            self._packets += item["kind"] == PACKET
            self._write(blocks)
        return True

    def close(self) -> None:
        """Say what is in the file, and close it."""
        left_out = f", {self._left_out} more were too many" if self._left_out else ""
        print(f"{self._packets} packets in {self._name}{left_out}", file=sys.stderr)
        if self._file is not sys.stdout.buffer:
            self._file.close()

    def _write(self, blocks: bytes) -> None:
        self._file.write(blocks)
        self._file.flush()  # so that it can be looked at while it grows
        self._bytes += len(blocks)


def _remark(item: dict[str, Any], most_bytes: int) -> bytes:
    """What is in force, unless that is too long."""
    text = as_remark(item["what"])
    if len(text) <= min(most_bytes, REMARK_MAX):
        return remark_block(item["at_s"], text)
    complain("the configuration is too long for the file; a replay needs --config")
    return b""


def _blocks(item: dict[str, Any]) -> Iterator[bytes]:
    """A packet as it came, as it went on, and packets of the appliance's own."""
    at_s, comment = item["at_s"], f"{item['verdict']} {verdict_words(item)}"
    queue = item["shard"]
    yield packet_block(0, at_s, b64decode(item["data"]), item["packet_bytes"], comment, is_outgoing=False, queue=queue)
    if item["after"] is not None:
        yield packet_block(1, at_s, b64decode(item["after"]), item["after_bytes"], f"as it went on: {comment}", is_outgoing=True)
    for own in map(b64decode, item["own"]):
        whole_bytes = int.from_bytes(own[TOTAL_LENGTH], "big") if len(own) >= IP_HEADER_BYTES else len(own)
        yield packet_block(1, at_s, own, whole_bytes, f"of the appliance's own, because of: {comment}", is_outgoing=True)
