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

    @classmethod
    def parse(cls, raw: bytes) -> "Segment":
        """The packet `raw`. Raises struct.error when it is shorter than both headers."""
        return tuple.__new__(cls, (*_parse(raw), raw))

    @classmethod
    def of(cls, fields: tuple[Any, ...], raw: bytes) -> "Segment":
        """The packet `raw`, whose headers were parsed already."""
        return tuple.__new__(cls, (*fields, raw))

    @property
    def flags(self) -> int:
        """The six flags of RFC 9293."""
        return self.offset_flags & FLAG_BITS

    @property
    def opening_flags(self) -> int:
        """Those flags that tell a SYN from all else."""
        return self.offset_flags & OPENING_FLAGS

    @property
    def options_end(self) -> int:
        """Where the data begins, in bytes from the start of the packet."""
        return IP_HEADER_BYTES + 4 * (self.offset_flags >> DATA_OFFSET_SHIFT)

    @property
    def options(self) -> bytes:
        """The TCP options; empty when there are none."""
        return self.raw[OPTIONS_START : self.options_end]

    @property
    def payload_bytes(self) -> int:
        """How much data it carries."""
        return len(self.raw) - self.options_end
