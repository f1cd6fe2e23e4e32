"""ICMP errors that quote a translated packet, passed on to the end that sent the original. LVS behaviour 3.9.

An error quotes the packet it is about, so the quoted addresses, reversed, are those of the opposite direction; whoever owns
them gets the error, from the address it believes it talks to. One body serves both directions.
"""

from appliance.conn import ConnTable, RewriteRecord
from appliance.model import reverse_key
from appliance.verdict import BAD_ICMP_CHECKSUM, NOT_OURS, Verdict
from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS, checksum, delta

_IP_CHECKSUM = 10
_TCP_CHECKSUM = 36
"""Both from the start of the quoted IP header."""


def translate_error(raw: bytes, conns: ConnTable) -> bytes | Verdict:
    """The error for the other end of the session it quotes, or a verdict when it is damaged or about no session of ours.

    `raw` is a whole ICMP packet. Only errors that quote a TCP packet without IP options are about a session.
    """
    if len(raw) < at.QUOTED_START + at.QUOTED_MIN_BYTES or raw[at.IP_HEADER_BYTES] not in at.ICMP_ERRORS:
        return NOT_OURS
    quoted = raw[at.QUOTED_START :]
    if quoted[0] != at.IPV4_NO_OPTIONS or quoted[9] != at.PROTO_TCP:
        return NOT_OURS
    key = reverse_key(quoted[at.ADDRESSES_START : at.ADDRESSES_END])
    for direction, conns_of_direction in enumerate(conns.by_direction):
        if conn := conns_of_direction.get(key):
            if checksum(raw[at.IP_HEADER_BYTES :]):
                return BAD_ICMP_CHECKSUM
            return _pass_on(raw, quoted, conn.records[direction].addresses, conn.records[1 - direction])
    return NOT_OURS


def _pass_on(raw: bytes, quoted: bytes, addresses: bytes, made_by: RewriteRecord) -> bytes:
    """`addresses` are those of a packet towards the receiver of the error; `made_by` is the record that made the quoted one."""
    inner = bytearray(quoted)
    inner[at.ADDRESSES_START : at.ADDRESSES_END] = reverse_key(addresses)
    _move_checksum(inner, _IP_CHECKSUM, -made_by.ip_delta)
    if len(inner) >= _TCP_CHECKSUM + 2:
        _move_checksum(inner, _TCP_CHECKSUM, -made_by.tcp_delta)
    outer = bytearray(raw[: at.IP_HEADER_BYTES])
    _move_checksum(outer, _IP_CHECKSUM, delta(bytes(outer[12:20]), addresses[:8]))
    outer[12:20] = addresses[:8]
    header = raw[at.IP_HEADER_BYTES : at.QUOTED_START]
    message_checksum = checksum(header[:2] + b"\0\0" + header[4:] + inner)
    return bytes(outer + header[:2] + message_checksum.to_bytes(2, "big") + header[4:] + inner)


def _move_checksum(buffer: bytearray, offset: int, by: int) -> None:
    old = int.from_bytes(buffer[offset : offset + 2], "big")
    buffer[offset : offset + 2] = ((old + by) % MODULUS).to_bytes(2, "big")
