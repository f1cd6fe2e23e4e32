"""What a packet of one direction gets written over its headers: plain data, packed as a kernel map would hold it.

A session has two records, one behind the other in one bytes object, and behind them the initial sequence number that its real
server was shown, and when it was opened; the last takes no memory, because the interpreter rounds up. As tuples, with their keys
and numbers, they took 560 bytes, half of what a session took; unpacking costs a packet less than a tenth of a microsecond.
"""

from struct import Struct, calcsize
from typing import Any, NamedTuple

from appliance.wire.checksum import MODULUS
from appliance.wire.flow import KEY_BYTES, KEY_FORMAT, PARTS_FORMAT, PORTS_BITS, destination_of, reverse_key
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

_CHANGES = "HHIIb"
RECORD = Struct(f"!{KEY_FORMAT}{_CHANGES}")
"""The fields of `RewriteRecord`, in their order."""

RECORD_BYTES = RECORD.size
"""The record of a direction starts at the direction times this."""

_ALL = Struct(f"!{KEY_FORMAT}{_CHANGES}{KEY_FORMAT}{_CHANGES}IQ")
_PARTS = Struct(f"!{PARTS_FORMAT}{_CHANGES}{PARTS_FORMAT}{_CHANGES}IQ")
_ENDS = Struct(f"!{PARTS_FORMAT}{calcsize('!' + _CHANGES)}x{PARTS_FORMAT}")
_isn_at = Struct("!I").unpack_from
_ISN_AT = 2 * RECORD_BYTES
_moment_at = Struct("!Q").unpack_from
_OPENED_AT = _ISN_AT + calcsize("!I")

RECORDS_BYTES = _ALL.size
"""The size of both records, the initial sequence number and the moment."""


class RewriteRecord(NamedTuple):
    """One record, unpacked. It changes only when a session starts anew. A UDP session has no shifts."""

    key: bytes
    """The flow that the packet belongs to when it leaves."""
    ip_delta: int
    """What the IP header checksum moves by (see wire.checksum), 0..65534."""
    transport_delta: int
    """What the TCP or UDP checksum moves by for addresses and ports, 0..65534: the pseudo header has the addresses, the
    transport header the ports."""
    seq_delta: int = 0
    """Added to the sequence number, modulo 2**32."""
    ack_delta: int = 0
    """Added to the acknowledgement number and to both edges of each SACK block, modulo 2**32."""
    window_shift: int = 0
    """How many bits the window moves to the left, up to what its field can hold; to the right when negative. -14..14."""


BareRecord = tuple[bytes, int, int, int, int, int]
"""The fields of a record as `RECORD` unpacks them: what the packet path uses, because it takes half the time."""

SEQ_DELTA, ACK_DELTA, WINDOW_SHIFT = (RewriteRecord._fields.index(name) for name in ("seq_delta", "ack_delta", "window_shift"))
"""Their places in a bare record."""


def rewrite_records(client_key: bytes, server_key: bytes, client_isn: int = 0, isn: int = 0, opened_ms: int = 0) -> bytes:
    """The records of both directions: client to VIP becomes local address to real server, and the reply the other way round.

    The client's sequence numbers, which begin at `client_isn`, begin at `isn` for the real server. Reversing a key moves words
    about and leaves their sum, so what one direction adds to a checksum the other takes away.
    """
    before, after = int.from_bytes(client_key, "big"), int.from_bytes(server_key, "big")
    # As `wire.checksum.delta` has them: of addresses and ports, and of the addresses alone, which are the upper part of a key.
    transport_delta = (before - after) % MODULUS
    ip_delta = ((before >> PORTS_BITS) - (after >> PORTS_BITS)) % MODULUS
    shift = isn - client_isn
    return _ALL.pack(
        server_key, ip_delta, transport_delta, shift & SEQ_MASK, 0, 0,
        reverse_key(client_key), ip_delta and MODULUS - ip_delta, transport_delta and MODULUS - transport_delta,
        0, -shift & SEQ_MASK, 0,
        isn, opened_ms,
    )  # fmt: skip


def record_of(records: bytes, direction: int) -> RewriteRecord:
    """The record of one direction, unpacked."""
    # What `RewriteRecord._make` does, without the call and the check of a length that cannot be wrong.
    return tuple.__new__(RewriteRecord, RECORD.unpack_from(records, direction * RECORD_BYTES))


def key_in(records: bytes, direction: int) -> bytes:
    """The flow of a packet of one direction as it leaves the gateway."""
    start = direction * RECORD_BYTES
    return records[start : start + KEY_BYTES]


def client_in(records: bytes) -> bytes:
    """The client's endpoint: where packets of Direction.OUTBOUND are sent to."""
    return destination_of(key_in(records, 1))


def shown_isn(records: bytes) -> int:
    """The initial sequence number that the real server was shown."""
    isn: int = _isn_at(records, _ISN_AT)[0]
    return isn


def opened_ms_in(records: bytes) -> int:
    """When the session was opened, in milliseconds of the monotonic clock."""
    opened_ms: int = _moment_at(records, _OPENED_AT)[0]
    return opened_ms


def arriving_keys(records: bytes) -> tuple[bytes, bytes]:
    """The flows of arriving packets of Direction.INBOUND and of OUTBOUND: what leaves one way comes from where the other goes."""
    local, real_server, local_port, real_server_port, vip, client, vip_port, client_port = _ENDS.unpack_from(records)
    return client + vip + client_port + vip_port, real_server + local + real_server_port + local_port


def ends_in(records: bytes) -> tuple[Any, ...]:
    """Source and destination address, source and destination port of a leaving packet of Direction.INBOUND; and of one of
    OUTBOUND."""
    return _ENDS.unpack_from(records)


def parts_in(records: bytes) -> tuple[Any, ...]:
    """All fields of both records, the keys in their four parts, the initial sequence number, and when the session was opened."""
    return _PARTS.unpack(records)


def packed(inbound: RewriteRecord, outbound: RewriteRecord, isn: int, opened_ms: int) -> bytes:
    """Both records, the initial sequence number, and when the session was opened, as a session keeps them."""
    return _ALL.pack(*inbound, *outbound, isn, opened_ms)


def undoing(made_by: RewriteRecord, key: bytes) -> RewriteRecord:
    """The record that turns a packet made by `made_by` into the one it was, of the flow `key`. Windows stay as they are."""
    return RewriteRecord(
        key,
        -made_by.ip_delta % MODULUS,
        -made_by.transport_delta % MODULUS,
        add(0, -made_by.seq_delta),
        add(0, -made_by.ack_delta),
    )
