"""The session record: one session as 256 bytes, with everything that is needed to rebuild it.

The kernel's table of sessions (the lane) consists of these records, and so does what a worker adopts from an earlier one.

FIELDS is the one definition: Python packs it, and `ipc.lane_header` writes the C struct from it. Numbers are those of the host
(little-endian on everything that is supported) and naturally aligned, so a compiler adds no padding; addresses and ports are
bytes in network order. The bytes from `storm_ns` on belong to the kernel's program: they are written as zero, and read only as
`ipc.syn_options` says.

How far checksums move follows from the endpoints. It is in the record because the kernel would otherwise compute it for each
packet; a record in which it does not fit the endpoints is refused.

What is not in a record: the SYN of a handshake under way, the packets that a proxied one holds back, the question to a client
whose SYN has met a live session, and a FIN that came too early. Whoever rebuilds a session begins without them.
"""

from enum import IntFlag
from struct import Struct
from typing import Any, NamedTuple

from appliance.model.tcp_state import UDP_STATE
from appliance.wire.checksum import MODULUS, delta
from appliance.wire.family import FAMILIES
from appliance.wire.flow import local_endpoint
from appliance.wire.layout import PROTO_TCP, PROTO_UDP

VERSION = 3
"""Whoever changes the layout, or the meaning of a field, increases it. A record of version 0 is an entry without a session."""

FIELDS: tuple[tuple[str, str], ...] = (
    ("version", "H"),
    ("family", "B"),
    ("protocol", "B"),
    # These four are one word, which the kernel moves by compare-and-swap.
    ("state", "B"),
    ("flags", "B"),
    ("state_reserved", "2s"),
    ("inbound_window_shift", "b"),
    ("outbound_window_shift", "b"),
    ("opened_high", "H"),
    ("held", "I"),
    ("client_address", "16s"),
    ("vip_address", "16s"),
    ("local_address", "16s"),
    ("real_server_address", "16s"),
    ("client_port", "2s"),
    ("vip_port", "2s"),
    ("local_port", "2s"),
    ("real_server_port", "2s"),
    ("inbound_ip_delta", "H"),
    ("inbound_transport_delta", "H"),
    ("outbound_ip_delta", "H"),
    ("outbound_transport_delta", "H"),
    ("inbound_seq_delta", "I"),
    ("inbound_ack_delta", "I"),
    ("outbound_seq_delta", "I"),
    ("outbound_ack_delta", "I"),
    ("client_isn", "I"),
    ("isn", "I"),
    ("cookie", "I"),
    ("rs_first_seq", "I"),
    ("slot", "I"),
    ("opened_low", "I"),
    ("last_seen_ns", "Q"),
    # As `state.progress` has them: ten words.
    ("client_acked", "Q"),
    ("client_next_seq", "Q"),
    ("client_window", "Q"),
    ("inbound_packets", "Q"),
    ("inbound_bytes", "Q"),
    ("rs_acked", "Q"),
    ("rs_next_seq", "Q"),
    ("rs_window", "Q"),
    ("outbound_packets", "Q"),
    ("outbound_bytes", "Q"),
    # Of the kernel's program alone: the last acknowledgement of the real server, and how often it came in a row.
    ("storm_ns", "Q"),
    ("storm_options", "Q"),
    ("storm_seq", "I"),
    ("storm_ack", "I"),
    ("storm_window", "H"),
    ("storm_repeats", "H"),
    ("storm_reserved", "I"),
)
"""Name and `struct` code of each field, in their order."""

_NAMES = tuple(name for name, _ in FIELDS)
_LAYOUT = Struct("<" + "".join(code for _, code in FIELDS))

RECORD_BYTES = _LAYOUT.size
"""256."""

ADDRESS_BYTES = {family.version: family.address_bytes for family in FAMILIES}
"""By family: how many bytes an address has."""

_LARGEST_SHIFT = 14
"""RFC 7323, 2.3."""


def _offset(field: str) -> int:
    before = [code for _, code in FIELDS[: _NAMES.index(field)]]
    return Struct("<" + "".join(before)).size


OFFSETS = {name: _offset(name) for name, _ in FIELDS}
"""By name: where a field begins, in bytes."""

ENDS = Struct("<4s12x4s12x4s12x4s12x2s2s2s2s")
"""The ends of a session of IPv4, from `client_address` on: the addresses of client, VIP, local end and real server, and the ports
in the same order."""

WORDS_START, WORDS_END = OFFSETS["client_acked"], OFFSETS["storm_ns"]
"""Where the ten words of `state.progress` lie."""


class Flags(IntFlag):
    """The bits of `flags`; all others are zero."""

    IS_OPENING = 1
    """Its client's packets still carry the client-address option."""
    HAS_ANSWER = 2
    """The real server has answered the SYN, so `rs_first_seq` counts."""
    IN_FIRST_TABLE = 4
    """No packet of the real server has been seen yet (table FIRST of `model.tcp_state`)."""
    HAS_COOKIE = 8
    """The client was answered with a SYN cookie: the session is proxied."""
    WAS_RESET = 16
    """A RST has ended its connection, which was not over before."""


_ALL_FLAGS = int(sum(Flags))


class Endpoint(NamedTuple):
    """An address in network order, with as many bytes as its family has, and a port."""

    address: bytes
    port: int

    @property
    def packed(self) -> bytes:
        """As `wire.flow` has endpoints."""
        return local_endpoint(self.address, self.port)


class SessionRecord(NamedTuple):
    """One session. Sequence and acknowledgement numbers are modulo 2**32, and the ten words are those of `state.progress`."""

    family: int
    """4 or 6."""
    protocol: int
    """PROTO_TCP or PROTO_UDP."""
    state: int
    """One of `model.tcp_state.TcpState`, or UDP_STATE."""
    flags: Flags
    """HAS_COOKIE is set exactly when `cookie` is not None, HAS_ANSWER exactly when `rs_first_seq` is not None."""
    inbound_window_shift: int
    """How many bits the window of a packet from the client moves to the left, or to the right when negative. -14..14."""
    outbound_window_shift: int
    """The same for a packet from the real server."""
    is_held: bool
    """Whether its worker has it: then all its packets go to Python."""
    client: Endpoint
    vip: Endpoint
    """With the protocol it identifies the service."""
    local: Endpoint
    real_server: Endpoint
    """It identifies the real server within the service."""
    inbound_seq_delta: int
    """Added to the sequence number of a packet from the client."""
    inbound_ack_delta: int
    """Added to the acknowledgement number and the SACK blocks of a packet from the client."""
    outbound_seq_delta: int
    outbound_ack_delta: int
    """The same for a packet from the real server."""
    client_isn: int
    """The initial sequence number that the client chose."""
    isn: int
    """The initial sequence number that the real server was shown instead."""
    cookie: int | None
    """The number with which the client's SYN was answered before there was a session; None when the real server answered."""
    rs_first_seq: int | None
    """The number of the real server's first byte, as the real server counts; None before it has answered."""
    slot: int
    """The place of the real server in the shared counters. It holds for one run only: whoever reads the record in another run
    finds the slot by the endpoint."""
    opened_ms: int
    """When it was opened, in milliseconds of CLOCK_MONOTONIC: 48 bits, of which `opened_low` has the lower 32."""
    last_seen_ns: int
    """When its last packet came, in nanoseconds of CLOCK_MONOTONIC, the clock of `time.monotonic` and of `bpf_ktime_get_ns`. Its
    deadline is that moment and the time-out of its state. On another host it means nothing."""
    client_acked: int
    client_next_seq: int
    client_window: int
    inbound_packets: int
    inbound_bytes: int
    rs_acked: int
    rs_next_seq: int
    rs_window: int
    outbound_packets: int
    outbound_bytes: int
    """Of IP packets."""


_BITS = {name: {"I": 32, "Q": 64}[code] for name, code in FIELDS if name in SessionRecord._fields and code in "IQ"}
"""By field: how many bits an unsigned number has."""

_BITS_OF_LOW, _OPENED_BITS = 32, 48
"""Of `opened_low`, and of both parts of `opened_ms`."""

_WORD_BITS = {"client_acked": 32, "rs_acked": 32, "client_window": 16, "rs_window": 16}
"""How many bits the words have that are fields of packets, and that packets are made of. Those that say what was sent last may go
beyond their 32, and are cut where they are read."""

_OPTIONAL = (("cookie", int(Flags.HAS_COOKIE)), ("rs_first_seq", int(Flags.HAS_ANSWER)))
"""Fields that have a value only with a flag."""
_ENDPOINTS = ("client", "vip", "local", "real_server")


def which_are_used(records: memoryview) -> bytes:
    """A byte for each of these records: the lower one of its version, which is zero for an entry without a session."""
    return bytes(records[OFFSETS["version"] :: RECORD_BYTES])


def encode(record: SessionRecord) -> bytes:
    """The record as RECORD_BYTES bytes. Raises ValueError, which names what is wrong, for a record that cannot be written."""
    _check(record)
    for field, bits in (("opened_ms", _OPENED_BITS), *_BITS.items()):
        if not 0 <= (getattr(record, field) or 0) < 1 << bits:
            raise _error(f"{field} {getattr(record, field)} does not fit {bits} bits")
    values: dict[str, Any] = {name: b"" if code.endswith("s") else 0 for name, code in FIELDS} | record._asdict()
    for name in _ENDPOINTS:
        endpoint: Endpoint = values.pop(name)
        values |= {f"{name}_address": endpoint.address, f"{name}_port": endpoint.port.to_bytes(2, "big")}
    values |= _checksum_deltas(record)
    high, low = divmod(values.pop("opened_ms"), 1 << _BITS_OF_LOW)
    values |= {"opened_high": high, "opened_low": low, "version": VERSION, "held": int(values.pop("is_held"))}
    values |= {"cookie": record.cookie or 0, "rs_first_seq": record.rs_first_seq or 0}
    return _LAYOUT.pack(*(values[name] for name, _ in FIELDS))


def decode(data: bytes) -> SessionRecord:
    """The record in RECORD_BYTES bytes. Raises ValueError, which names what is wrong, for bytes that `encode` does not write and
    the kernel does not make of them."""
    if len(data) != RECORD_BYTES:
        raise _error(f"{len(data)} bytes and not {RECORD_BYTES}")
    values: dict[str, Any] = dict(zip(_NAMES, _LAYOUT.unpack(data), strict=True))
    if values["version"] != VERSION:
        raise _error(f"version {values['version']} and not {VERSION}")
    if any(values["state_reserved"]):
        raise _error("state_reserved is not zero")
    family, held, flags = values["family"], values["held"], values["flags"]
    if family not in ADDRESS_BYTES:
        raise _error(f"family {family} is neither 4 nor 6")
    if held > 1:
        raise _error(f"held {held} is neither 0 nor 1")
    for name, flag in _OPTIONAL:
        if not flags & flag:
            if values[name]:
                raise _error(f"{name} {values[name]:#x} without {Flags(flag).name}")
            values[name] = None
    values["flags"], values["is_held"] = Flags(flags), bool(held)
    values["opened_ms"] = values["opened_high"] << _BITS_OF_LOW | values["opened_low"]
    for name in _ENDPOINTS:
        address = _address(family, values[f"{name}_address"])
        values[name] = Endpoint(address, int.from_bytes(values[f"{name}_port"], "big"))
    record = SessionRecord(*map(values.__getitem__, SessionRecord._fields))
    _check(record)
    for name, wanted in _checksum_deltas(record).items():
        if values[name] != wanted:
            raise _error(f"{name} {values[name]} does not fit the endpoints, which give {wanted}")
    return record


def _checksum_deltas(record: SessionRecord) -> dict[str, int]:
    """What checksums move by; see `wire.checksum`."""
    arriving, leaving = record.client.address + record.vip.address, record.local.address + record.real_server.address
    ports = [endpoint.port.to_bytes(2, "big") for endpoint in (record.client, record.vip, record.local, record.real_server)]
    addresses, transport = delta(arriving, leaving), delta(b"".join(ports[:2]), b"".join(ports[2:]))
    transport = (transport + addresses) % MODULUS
    return {
        "inbound_ip_delta": addresses,
        "inbound_transport_delta": transport,
        "outbound_ip_delta": -addresses % MODULUS,
        "outbound_transport_delta": -transport % MODULUS,
    }


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
    flags = int(record.flags)
    if flags & ~_ALL_FLAGS:
        raise _error(f"unknown bits in flags {flags:#x}")
    for field, flag in _OPTIONAL:
        value = getattr(record, field)
        if bool(flags & flag) != (value is not None):
            raise _error(f"flags {flags:#x} do not fit {value}: {Flags(flag).name} says whether there is a value")
    for field in ("inbound_window_shift", "outbound_window_shift"):
        if not -_LARGEST_SHIFT <= getattr(record, field) <= _LARGEST_SHIFT:
            raise _error(f"{field} {getattr(record, field)} is out of range -{_LARGEST_SHIFT}..{_LARGEST_SHIFT}")
    for field, bits in _WORD_BITS.items():
        if getattr(record, field) >> bits:
            raise _error(f"{field} {getattr(record, field)} does not fit {bits} bits")
    for name in _ENDPOINTS:
        _check_endpoint(name, getattr(record, name), record.family)


def _check_endpoint(name: str, endpoint: Endpoint, family: int) -> None:
    if len(endpoint.address) != ADDRESS_BYTES[family]:
        raise _error(f"the address of {name} has {len(endpoint.address)} bytes and not {ADDRESS_BYTES[family]}")
    if not 0 <= endpoint.port < 1 << 16:
        raise _error(f"the port of {name}, {endpoint.port}, does not fit 16 bits")
