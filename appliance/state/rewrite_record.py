"""What a packet of one direction gets written over its headers: plain data, packed as a kernel map would hold it.

A session has two records, one behind the other in one bytes object of 96 bytes. As tuples, with their addresses and numbers, they
took 560, half of what a session took; unpacking costs a packet less than a tenth of a microsecond.
"""

from struct import Struct
from typing import NamedTuple

from appliance.wire.checksum import MODULUS, delta
from appliance.wire.flow import reverse_key
from appliance.wire.seq import MASK as SEQ_MASK

RECORD = Struct("!12sHHIIb")
"""The fields of `RewriteRecord`, in their order."""

RECORD_BYTES = RECORD.size
"""A direction times this is where its record starts."""

_PAIR = Struct("!" + 2 * RECORD.format.removeprefix("!"))


CLIENT_ADDRESS = slice(RECORD_BYTES + 4, RECORD_BYTES + 8)
CLIENT_PORT = slice(RECORD_BYTES + 10, RECORD_BYTES + 12)
"""Where both records together have the client: it is the destination of what goes out."""


class RewriteRecord(NamedTuple):
    """One record, unpacked. It changes only when a session starts anew. A UDP session has no shifts."""

    addresses: bytes
    """The new 12 address bytes."""
    ip_delta: int
    """What the IP header checksum moves by (see wire.checksum), 0..65534."""
    tcp_delta: int
    """What the TCP or UDP checksum moves by for addresses and ports, 0..65534: the pseudo header has the ones, the header the
    others."""
    seq_delta: int = 0
    """Added to the sequence number, modulo 2**32."""
    ack_delta: int = 0
    """Added to the acknowledgement number and to both edges of each SACK block, modulo 2**32."""
    window_shift: int = 0
    """How many bits the window moves to the left, up to what its field can hold; to the right when negative. -14..14."""


def rewrite_records(client_key: bytes, server_key: bytes, shift: int = 0) -> bytes:
    """The records of both directions: client to VIP becomes local address to real server, and the reply the other way round.

    `shift` is what the client's sequence numbers move by. Reversing addresses moves words about and leaves their sum, so what
    one direction adds to a checksum the other takes away.
    """
    ip_delta, tcp_delta = delta(client_key[:8], server_key[:8]), delta(client_key, server_key)
    return _PAIR.pack(
        server_key, ip_delta, tcp_delta, shift & SEQ_MASK, 0, 0,
        reverse_key(client_key), -ip_delta % MODULUS, -tcp_delta % MODULUS, 0, -shift & SEQ_MASK, 0,
    )  # fmt: skip


def record_of(records: bytes, direction: int) -> RewriteRecord:
    """The record of one direction."""
    # What `RewriteRecord._make` does, without the call and the check of a length that cannot be wrong.
    return tuple.__new__(RewriteRecord, RECORD.unpack_from(records, direction * RECORD_BYTES))


def packed(inbound: RewriteRecord, outbound: RewriteRecord) -> bytes:
    """Both records as a session keeps them."""
    return _PAIR.pack(*inbound, *outbound)
