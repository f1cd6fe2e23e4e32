"""A TCP packet with its headers parsed, for everything that is not done to nearly every packet."""

from typing import Any, NamedTuple

from appliance.wire.layout import (
    DATA_OFFSET_SHIFT,
    FLAG_BITS,
    HEADERS,
    IP_HEADER_BYTES,
    OPENING_FLAGS,
    OPTIONS_START,
)

_parse = HEADERS.unpack_from
_OFFSET_FLAGS = 8
"""The place of data offset and flags among the fields of `layout.HEADERS`."""


class Segment(NamedTuple):
    """A whole TCP packet behind an IPv4 header without options. The fields up to `tcp_checksum` are those of `layout.HEADERS`."""

    version_ihl: int
    total_bytes: int
    """Of the packet, as its IP header says."""
    fragment_bits: int
    protocol: int
    ip_checksum: int
    key: bytes
    """Of its flow, see `wire.flow`."""
    seq: int
    ack: int
    """Means nothing without the ACK flag."""
    offset_flags: int
    """Data offset and flags, 16 bits."""
    window: int
    """As it stands in the packet, not scaled."""
    tcp_checksum: int
    raw: bytes
    """The packet."""
    flags: int
    """The six flags of RFC 9293."""
    options_end: int
    """Where the data begins, in bytes from the start of the packet."""

    @classmethod
    def parse(cls, raw: bytes) -> "Segment":
        """The packet `raw`. Raises struct.error when it is shorter than both headers."""
        return cls.of(_parse(raw), raw)

    @classmethod
    def of(cls, fields: tuple[Any, ...], raw: bytes) -> "Segment":
        """The packet `raw`, whose headers were parsed already."""
        offset_flags = fields[_OFFSET_FLAGS]
        end = IP_HEADER_BYTES + 4 * (offset_flags >> DATA_OFFSET_SHIFT)
        return tuple.__new__(cls, (*fields, raw, offset_flags & FLAG_BITS, end))

    @property
    def opening_flags(self) -> int:
        """The flags that tell a SYN from all other segments."""
        return self.flags & OPENING_FLAGS

    @property
    def options(self) -> bytes:
        """The TCP options; empty when there are none."""
        return self.raw[OPTIONS_START : self.options_end]

    @property
    def payload_bytes(self) -> int:
        """How much data it carries."""
        return len(self.raw) - self.options_end
