"""Packets in files that tcpdump and Wireshark read: pcapng is written and read, the older pcap is read.

dpkt was not chosen for it: its writer cannot say that a packet was cut, its reader gives neither interfaces nor comments, and it
believes every length that a file claims. What is used of the format is four kinds of blocks
(draft-ietf-opsawg-pcapng, sections 4.1, 4.2, 4.3 and 4.6). Files may come from anybody: whatever is wrong raises
CaptureFileError, and no length in them makes this take more than BLOCK_MAX bytes.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

BLOCK_MAX = 1 << 20
"""Bytes of the longest block that is read."""

INTERFACES_MAX = 1024

REMARK_MAX = 1_000_000
"""Bytes of the longest remark."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_VERSION = (1, 0)
_UNKNOWN_LENGTH = (1 << 64) - 1
_COMMENT, _NAME, _FLAGS, _QUEUE, _RESOLUTION = 1, 2, 2, 6, 9
"""Options; _NAME and _RESOLUTION are of an interface, _FLAGS and _QUEUE of a packet."""
_OPTION_MAX = 65_532
_NUMBER = struct.Struct("<I")
_END_OF_OPTIONS = b"\0\0\0\0"
_INBOUND, _OUTBOUND = 1, 2
_RAW, _IPV4, _ETHERNET, _SLL, _SLL2 = 101, 228, 1, 113, 276
"""Link types (tcpdump.org/linktypes.html)."""
_HEADER_OF = {_RAW: (0, None), _IPV4: (0, None), _ETHERNET: (14, 12), _SLL: (16, 14), _SLL2: (20, 0)}
"""By link type: the bytes before the IP header, and where among them the protocol is said."""
_IPV4_PROTOCOL = 0x0800

_MICROSECONDS = 6
_PCAP = {0xA1B2C3D4: 10**6, 0xA1B23C4D: 10**9}
"""Magic numbers of pcap, and the parts of a second that its times have."""

_LEAST_BLOCK = 12
_LATEST_S = 253_402_300_799


class CaptureFileError(ValueError):
    """A file cannot be read as a capture; the message says where and why."""


class Captured(NamedTuple):
    """One packet of a capture."""

    at_s: float
    """Seconds since the epoch."""
    interface: str
    """The name of the interface; empty when it has none."""
    data: bytes
    """From the IP header on, as much as was captured; empty for what is no IPv4 packet."""
    whole_bytes: int
    """How long the packet was, from the IP header on."""
    comment: str
    """Empty when it has none."""
    queue: int | None = None
    """The queue of the interface that it came by; None when that is not said."""


class Remark(NamedTuple):
    """What a capture says between its packets: the comment of statistics of its first interface."""

    at_s: float
    """Seconds since the epoch."""
    text: str


def file_head(interfaces: Sequence[str], snap_bytes: int) -> bytes:
    """The beginning of a file with packets of these interfaces, cut to `snap_bytes`: IPv4 packets without a link layer."""
    section = struct.pack("<IHHQ", _BYTE_ORDER, *_VERSION, _UNKNOWN_LENGTH)
    blocks = [_block(_SECTION, section)]
    for name in interfaces:
        options = _option(_NAME, name.encode()) + _option(_RESOLUTION, bytes((_MICROSECONDS,))) + _END_OF_OPTIONS
        blocks.append(_block(_INTERFACE, struct.pack("<HHI", _RAW, 0, snap_bytes) + options))
    return b"".join(blocks)


def packet_block(
    interface: int, at_s: float, data: bytes, whole_bytes: int, comment: str, *, is_outgoing: bool, queue: int | None = None
) -> bytes:
    """One packet at the interface with this number, `at_s` seconds since the epoch."""
    fields = struct.pack("<III", interface, *_time(at_s)) + struct.pack("<II", len(data), max(whole_bytes, len(data)))
    options = _option(_COMMENT, comment.encode()) + _option(_FLAGS, _NUMBER.pack(_OUTBOUND if is_outgoing else _INBOUND))
    if queue is not None:
        options += _option(_QUEUE, _NUMBER.pack(queue))
    return _block(_PACKET, fields + _padded(data) + options + _END_OF_OPTIONS)


def remark_block(at_s: float, text: str) -> bytes:
    """A remark of up to REMARK_MAX bytes, in as many comments as it needs: one has room for 65,535."""
    data = text.encode()
    parts = (data[start : start + _OPTION_MAX] for start in range(0, len(data), _OPTION_MAX))
    options = b"".join(_option(_COMMENT, part) for part in parts) + _END_OF_OPTIONS
    return _block(_STATISTICS, struct.pack("<III", 0, *_time(at_s)) + options)


def _time(at_s: float) -> tuple[int, int]:
    time = round(at_s * 10**_MICROSECONDS)
    return time >> 32, time & 0xFFFFFFFF


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", _LEAST_BLOCK + len(body))
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def read_packets(stream: BinaryIO) -> Iterator[Captured]:
    """The packets of a capture, each when it is asked for. Raises CaptureFileError."""
    return (one for one in read_all(stream) if isinstance(one, Captured))


def read_all(stream: BinaryIO) -> Iterator[Captured | Remark]:
    """Its packets and remarks in the order of the file, each when it is asked for. Raises CaptureFileError."""
    magic = stream.read(4)
    for order in "<>":
        if len(magic) == 4 and struct.unpack(f"{order}I", magic)[0] in _PCAP:
            return _read_pcap(stream, order, _PCAP[struct.unpack(f"{order}I", magic)[0]])
    if magic != struct.pack("<I", _SECTION):
        raise CaptureFileError("it is neither pcapng nor pcap")
    return _Pcapng(stream).contents()


class _Interface(NamedTuple):
    link: int
    name: str
    parts_of_second: int


class _Pcapng:
    """A pcapng file whose first four bytes were read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._block = 0

    def contents(self) -> Iterator[Captured | Remark]:
        kind = struct.pack("<I", _SECTION)
        while kind:
            self._block += 1
            if len(kind) < 4:
                raise self._error("it ends in the middle of a block")
            number = self._unpack("I", kind)[0]
            body = self._section() if number == _SECTION else self._body(self._take(4))
            if number == _INTERFACE:
                self._add_interface(body)
            elif number == _PACKET:
                yield self._packet(body)
            elif number == _STATISTICS and (remark := self._remark(body)).text:
                yield remark
            kind = self._stream.read(4)

    def _section(self) -> bytes:
        length, order = self._take(4), self._take(4)
        for self._order in "<>":
            if self._unpack("I", order)[0] == _BYTE_ORDER:
                self._interfaces = []
                return self._body(length, taken=order)
        raise self._error("its byte order is unknown")

    def _body(self, length: bytes, taken: bytes = b"") -> bytes:
        """What is in a block of this length, of which the kind, the length and `taken` were read."""
        total = self._unpack("I", length)[0]
        if not _LEAST_BLOCK + len(taken) <= total <= BLOCK_MAX or total % 4:
            raise self._error(f"its length is {total}; allowed: multiples of 4, up to {BLOCK_MAX}")
        body = taken + self._take(total - _LEAST_BLOCK - len(taken))
        if self._take(4) != length:
            raise self._error("its two lengths differ")
        return body

    def _add_interface(self, body: bytes) -> None:
        if len(self._interfaces) >= INTERFACES_MAX:
            raise self._error(f"there are more than {INTERFACES_MAX} interfaces")
        link, _, _ = self._unpack_from("HHI", body)
        options = dict(self._options(body, 8))
        resolution = options.get(_RESOLUTION, bytes((_MICROSECONDS,)))[:1] or bytes((_MICROSECONDS,))
        base, power = (2, resolution[0] & 0x7F) if resolution[0] & 0x80 else (10, resolution[0])
        self._interfaces.append(_Interface(link, _text(options.get(_NAME, b"")), base**power))

    def _packet(self, body: bytes) -> Captured:
        number, high, low, kept, whole = self._unpack_from("IIIII", body)
        if number >= len(self._interfaces):
            raise self._error(f"there is no interface {number}")
        start = struct.calcsize("<IIIII")
        if kept > len(body) - start:
            raise self._error(f"the packet has {kept} bytes, and the block is shorter")
        interface = self._interfaces[number]
        comment, queue = b"", None
        for code, value in self._options(body, start + kept + -kept % 4):
            if code == _COMMENT:
                comment = comment or value
            elif code == _QUEUE and len(value) == _NUMBER.size:
                [queue] = self._unpack("I", value)
        at_s = (high << 32 | low) / interface.parts_of_second
        return _captured(at_s, interface, body[start : start + kept], whole, _text(comment), queue)

    def _remark(self, body: bytes) -> Remark:
        number, high, low = self._unpack_from("III", body)
        if number >= len(self._interfaces):
            raise self._error(f"there is no interface {number}")
        comments = (value for code, value in self._options(body, struct.calcsize("<III")) if code == _COMMENT)
        return Remark(_checked_time((high << 32 | low) / self._interfaces[number].parts_of_second), _text(b"".join(comments)))

    def _options(self, body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
        while start + 4 <= len(body):
            code, length = struct.unpack_from(f"{self._order}HH", body, start)
            if not code:
                return
            if length > len(body) - start - 4:
                raise self._error("an option is longer than the block")
            yield code, body[start + 4 : start + 4 + length]
            start += 4 + length + -length % 4

    def _take(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise self._error("it ends in the middle of a block")
        return data

    def _unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + form, data)

    def _unpack_from(self, form: str, body: bytes) -> tuple[int, ...]:
        if len(body) < struct.calcsize(self._order + form):
            raise self._error("it is too short for what it is")
        return struct.unpack_from(self._order + form, body)

    def _error(self, why: str) -> CaptureFileError:
        return CaptureFileError(f"block {self._block}: {why}")


def _read_pcap(stream: BinaryIO, order: str, parts_of_second: int) -> Iterator[Captured]:
    head = stream.read(20)
    if len(head) < 20:
        raise CaptureFileError("it ends in its header")
    link = struct.unpack(f"{order}HHIIII", head)[-1] & 0xFFFF
    number, form = 0, struct.Struct(f"{order}IIII")
    while fields := stream.read(form.size):
        number += 1
        if len(fields) < form.size:
            raise CaptureFileError(f"packet {number}: it ends in the middle")
        seconds, parts, kept, whole = form.unpack(fields)
        if kept > BLOCK_MAX:
            raise CaptureFileError(f"packet {number}: its length is {kept}; allowed: up to {BLOCK_MAX}")
        data = stream.read(kept)
        if len(data) < kept:
            raise CaptureFileError(f"packet {number}: it ends in the middle")
        yield _captured(seconds + parts / parts_of_second, _Interface(link, "", parts_of_second), data, whole, "")


def _captured(at_s: float, interface: _Interface, frame: bytes, whole: int, comment: str, queue: int | None = None) -> Captured:
    """A frame without its link layer."""
    _checked_time(at_s)
    if interface.link not in _HEADER_OF:
        raise CaptureFileError(f"packets with the link type {interface.link} cannot be read")
    skip, protocol_at = _HEADER_OF[interface.link]
    is_ipv4 = protocol_at is None or int.from_bytes(frame[protocol_at : protocol_at + 2], "big") == _IPV4_PROTOCOL
    data = frame[skip:] if is_ipv4 else b""
    return Captured(at_s, interface.name, data, max(0, whole - skip), comment, queue)


def _checked_time(at_s: float) -> float:
    if at_s > _LATEST_S:
        raise CaptureFileError(f"a packet is of second {at_s:.0f} since the epoch, which is behind the year 9999")
    return at_s


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
