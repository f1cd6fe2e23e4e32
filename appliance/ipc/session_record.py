"""The session record: one session as 176 bytes, with everything that is needed to rebuild it.

Nothing in the appliance uses it yet. It is fixed now so that everything that will copy sessions copies the same bytes: the
kernel's own table of them, a worker that takes over from another process, another host.

Numbers are little-endian and naturally aligned, so a C compiler lays out this struct without padding:

    struct endpoint {
        __u8  address[16];         /* network order; IPv4 has the first four bytes, the others are zero */
        __u16 port;
    };
    struct session_record {
        __u16 version;             /*   0  VERSION */
        __u8  family;              /*   2  4 or 6: the version of IP */
        __u8  protocol;            /*   3  6 (TCP) or 17 (UDP) */
        __u8  state;               /*   4  as in model/tcp_state.py; 11 is UDP */
        __u8  flags;               /*   5  see Flags */
        __s8  inbound_window_shift, outbound_window_shift;
        struct endpoint client, vip, local, real_server;                   /*   8 */
        __u32 slot;                /*  80 */
        __u32 cookie;              /*  84  zero without HAS_COOKIE */
        __u32 client_isn, isn;     /*  88 */
        __u32 inbound_seq_delta, inbound_ack_delta;                        /*  96 */
        __u32 outbound_seq_delta, outbound_ack_delta;                      /* 104 */
        __u32 client_next_seq, client_ack, rs_next_seq, rs_ack;            /* 112 */
        __u16 client_window, rs_window;                                    /* 128 */
        __u32 reserved;            /* 132  zero */
        __u64 deadline_ns;         /* 136 */
        __u64 inbound_packets, outbound_packets;                           /* 144 */
        __u64 inbound_bytes, outbound_bytes;                               /* 160 */
    };

How far the checksums move follows from the addresses and ports, so it is not in the record. Three things are not in it either:
the packets that an opening session holds back, the question to a client whose SYN has met a live session, and the count of an ACK
storm. So a session with IS_OPENING cannot be rebuilt from its record alone.
"""

from enum import IntFlag
from struct import Struct
from typing import Any, NamedTuple

from appliance.model.tcp_state import UDP_STATE
from appliance.wire.family import FAMILIES
from appliance.wire.layout import PROTO_TCP, PROTO_UDP

VERSION = 1
"""Whoever changes the layout, or the meaning of a field, increases it."""

_LAYOUT = Struct("<HBBBBbb" + 4 * "16sH" + "II" + 10 * "I" + "HHI" + 5 * "Q")

RECORD_BYTES = _LAYOUT.size

ADDRESS_BYTES = {family.version: family.address_bytes for family in FAMILIES}
"""By family: how many bytes an address has."""

_FIELD_BYTES = 16
_LARGEST_SHIFT = 14
"""RFC 7323, 2.3."""


class Flags(IntFlag):
    """The bits of `flags`; all others are zero."""

    IS_OPENING = 1
    """The client has not yet acknowledged the real server's first byte."""
    NEEDS_SLOW_PATH = 2
    """Its packets need more than the numbers in this record."""
    IN_FIRST_TABLE = 4
    """No packet of the real server has been seen yet (table FIRST of `model.tcp_state`)."""
    HAS_COOKIE = 8
    """The client was answered with a SYN cookie."""
    HAS_CLIENT_ACK = 16
    """The client has acknowledged something, so `client_ack` counts."""


_ALL_FLAGS = sum(Flags)


class Endpoint(NamedTuple):
    """An address in network order, with as many bytes as its family has, and a port."""

    address: bytes
    port: int


class SessionRecord(NamedTuple):
    """One session. Sequence and acknowledgement numbers are modulo 2**32."""

    family: int
    """4 or 6."""
    protocol: int
    """PROTO_TCP or PROTO_UDP."""
    state: int
    """One of `model.tcp_state.TcpState`, or UDP_STATE."""
    flags: Flags
    """HAS_COOKIE is set exactly when `cookie` is not None."""
    inbound_window_shift: int
    """How many bits the window of a packet from the client moves to the left, or to the right when negative. -14..14."""
    outbound_window_shift: int
    """The same for a packet from the real server."""
    client: Endpoint
    vip: Endpoint
    """With the protocol it identifies the service."""
    local: Endpoint
    real_server: Endpoint
    """It identifies the real server within the service."""
    slot: int
    """The place of the real server in the shared counters. It holds for one run only: whoever reads the record in another run
    finds the slot by the endpoint."""
    cookie: int | None
    """The number with which the client's SYN was answered before there was a session; None when the real server answered."""
    client_isn: int
    """The initial sequence number that the client chose."""
    isn: int
    """The initial sequence number that the real server was shown instead."""
    inbound_seq_delta: int
    """Added to the sequence number of a packet from the client."""
    inbound_ack_delta: int
    """Added to the acknowledgement number and the SACK blocks of a packet from the client."""
    outbound_seq_delta: int
    outbound_ack_delta: int
    """The same for a packet from the real server."""
    client_next_seq: int
    """The number after the client's last byte, in the client's numbers; 0 while it is not known."""
    client_ack: int
    """The client's last acknowledgement, in the client's numbers; it counts with HAS_CLIENT_ACK."""
    rs_next_seq: int
    """The number after the real server's last byte, in the real server's numbers; 0 while it is not known."""
    rs_ack: int
    """The real server's last acknowledgement, in the real server's numbers; `isn` before the first."""
    client_window: int
    """The window in the client's last packet, as it stood there, 0..65535."""
    rs_window: int
    """The window in the real server's last packet, as it stood there, 0..65535."""
    deadline_ns: int
    """When the session expires if no packet comes, in nanoseconds of CLOCK_MONOTONIC, the clock of `time.monotonic` and of the
    kernel's `bpf_ktime_get_ns`. It is a moment and not the time that is left: so a record that waits does not become younger, and
    the kernel can compare it with its clock. On another host it means nothing, so whoever sends a record there converts it."""
    inbound_packets: int
    outbound_packets: int
    inbound_bytes: int
    """Bytes of IP packets."""
    outbound_bytes: int


_ENDPOINTS_START = 6
_WORDS = slice(12, 24)
"""From `client_isn` to `rs_window`; the reserved bytes follow."""

_BITS = (
    dict.fromkeys(SessionRecord._fields[_WORDS], 32)
    | {"slot": 32, "client_window": 16, "rs_window": 16, "cookie": 32}
    | dict.fromkeys(SessionRecord._fields[_WORDS.stop :], 64)
)
"""By field: how many bits an unsigned number has."""


def encode(record: SessionRecord) -> bytes:
    """The record as RECORD_BYTES bytes. Raises ValueError, which names what is wrong, for a record that cannot be written."""
    _check(record)
    values: list[Any] = list(record)
    endpoints = (part for endpoint in _endpoints(record).values() for part in endpoint)
    return _LAYOUT.pack(
        VERSION,
        *values[:_ENDPOINTS_START],
        *endpoints,
        record.slot,
        record.cookie or 0,
        *values[_WORDS],
        0,
        *values[_WORDS.stop :],
    )


def decode(data: bytes) -> SessionRecord:
    """The record in RECORD_BYTES bytes. Raises ValueError, which names what is wrong, for bytes that `encode` does not write."""
    if len(data) != RECORD_BYTES:
        raise _error(f"{len(data)} bytes and not {RECORD_BYTES}")
    version, *values = _LAYOUT.unpack(data)
    if version != VERSION:
        raise _error(f"version {version} and not {VERSION}")
    (family, protocol, state, flags, *shifts), endpoints, (slot, cookie, *numbers) = values[:6], values[6:14], values[14:]
    reserved = numbers.pop(_WORDS.stop - _WORDS.start)
    if reserved:
        raise _error(f"reserved bytes {reserved:#x} are not zero")
    if family not in ADDRESS_BYTES:
        raise _error(f"family {family} is neither 4 nor 6")
    if cookie and not flags & Flags.HAS_COOKIE:
        raise _error(f"cookie {cookie:#x} without HAS_COOKIE")
    parts = (Endpoint(_address(family, field), port) for field, port in zip(endpoints[::2], endpoints[1::2], strict=True))
    has_cookie = flags & Flags.HAS_COOKIE
    record = SessionRecord._make(
        (family, protocol, state, Flags(flags), *shifts, *parts, slot, cookie if has_cookie else None, *numbers)
    )
    _check(record)
    return record


def _endpoints(record: SessionRecord) -> dict[str, Endpoint]:
    """In the order of the layout."""
    return {"client": record.client, "vip": record.vip, "local": record.local, "real_server": record.real_server}


def _error(what: str) -> ValueError:
    return ValueError(f"session record: {what}")


def _address(family: int, field: bytes) -> bytes:
    address, rest = field[: ADDRESS_BYTES[family]], field[ADDRESS_BYTES[family] :]
    if any(rest):
        raise _error(f"reserved bytes {rest.hex()} behind an IPv4 address are not zero")
    return address


def _check(record: SessionRecord) -> None:
    """Raises ValueError for a record with a value that has no meaning or no place."""
    if record.family not in ADDRESS_BYTES:
        raise _error(f"family {record.family} is neither 4 nor 6")
    if record.protocol not in (PROTO_TCP, PROTO_UDP):
        raise _error(f"protocol {record.protocol} is neither TCP (6) nor UDP (17)")
    states = range(UDP_STATE) if record.protocol == PROTO_TCP else (UDP_STATE,)
    if record.state not in states:
        raise _error(f"state {record.state} is out of range for protocol {record.protocol}")
    if record.flags & ~_ALL_FLAGS:
        raise _error(f"unknown bits in flags {int(record.flags):#x}")
    if bool(record.flags & Flags.HAS_COOKIE) != (record.cookie is not None):
        raise _error(f"cookie {record.cookie} does not fit flags {int(record.flags):#x}")
    for field in ("inbound_window_shift", "outbound_window_shift"):
        if not -_LARGEST_SHIFT <= getattr(record, field) <= _LARGEST_SHIFT:
            raise _error(f"{field} {getattr(record, field)} is out of range -{_LARGEST_SHIFT}..{_LARGEST_SHIFT}")
    for name, endpoint in _endpoints(record).items():
        _check_endpoint(name, endpoint, record.family)
    for field, bits in _BITS.items():
        if not 0 <= (getattr(record, field) or 0) < 1 << bits:
            raise _error(f"{field} {getattr(record, field)} does not fit {bits} bits")


def _check_endpoint(name: str, endpoint: Endpoint, family: int) -> None:
    if len(endpoint.address) != ADDRESS_BYTES[family]:
        raise _error(f"the address of {name} has {len(endpoint.address)} bytes and not {ADDRESS_BYTES[family]}")
    if not 0 <= endpoint.port < 1 << 16:
        raise _error(f"the port of {name}, {endpoint.port}, does not fit 16 bits")
