"""The bytes of a fuzzer's input, read as choices; and the pools that they choose from.

The first of each pool is the most usual choice, so that an input of zeros is ordinary: a failing input shrinks towards it.
"""

from collections.abc import Sequence
from typing import TypeVar

import dpkt

from appliance.state.progress import progress_of
from appliance.state.session import Session
from appliance.wire.flow import Direction, pack_endpoint
from tests.support.addresses import CLIENT_ADDRESS, LIP1, LIP2, ROUTER_ADDRESS, RS1, RS1_ADDRESS, RS2, VIP, VIP_ADDRESS
from tests.support.segments import tcp

T = TypeVar("T")

HTTPS = pack_endpoint(VIP_ADDRESS, 443)
NO_SERVICE = pack_endpoint(VIP_ADDRESS, 81)

CLIENT_ADDRESSES = (CLIENT_ADDRESS, CLIENT_ADDRESS + 1, ROUTER_ADDRESS)
FIRST_CLIENT_PORT = 40_000
DESTINATIONS = (VIP, VIP, HTTPS, NO_SERVICE)
ODD_ENDS = (
    RS1, RS2, VIP, HTTPS, pack_endpoint(LIP1, 5000), pack_endpoint(LIP2, 5001), pack_endpoint(LIP1, 0), b"\0" * 6, b"\xff" * 6,
)  # fmt: skip
ADDRESSES = tuple(address.packed for address in (ROUTER_ADDRESS, CLIENT_ADDRESS, RS1_ADDRESS, VIP_ADDRESS, LIP1))

FLAGS = ("S", "A", "PA", "FA", "SA", "R", "RA", "FPA", "", "F", "P", "U", "UA", "SU", "SF", "SR", "SP", "SPA", "SEW", "FSRPAU")
ANSWERS = ("", "", "PA", "FA", "R", "RA", "SA", "S", "FPA")
"""The flags of an answer; empty for those that a host would use."""
PAYLOAD_BYTES = (0, 0, 1, 3, 18, 100, 536, 1400, 1452, 1460, 3700)
WINDOWS = (64_240, 0, 1, 501, 65_535)
OFFSETS = (0, 1, -1, 2, 3, 18, 19, -18, 100, 1 << 16, 1 << 20, 1 << 26, 1 << 31, -(1 << 31) + 1, -(1 << 20), 1460)
FIRST_NUMBERS = (1_000, 70_000, 0, 2**32 - 1, 2**31, 3_000_000_000)

OPTIONS = tuple(
    map(
        bytes.fromhex,
        (
            "",
            "020405b40402080a00000001000000000103030e",  # as Linux sends it, with the largest window scale
            "020405b4",
            "020405b40101040201030307",
            "0101080a0000000100000000",
            "0101050a000003e9000003f5",
            "0101051200011171000111ff0001127100011300",
            "0101080a00000001000000000101050a000003e9000003f50101051200000001",  # the second SACK is too long
            "fe081f900a000001",  # a client-address option, sent by the client, with another address
            "c8081f900a000001",
            "01" * 40,
            "080a0000000100000000051a" + "00011171000111ff" * 3 + "01010101",
            "0522" + "00011171000111ff" * 4 + "0101",
            "02040000",
            "02040001",
            "0204ffff",
            "030300" + "00" * 37,
            "0303ff01",
            "02000000",
            "02010101",
            "01010204",
            "05030001",
            "0502050c000003e90000",
            "050600000001" + "050600000002",
            "ffffffff",
            "01010108",
            "00fe0800",
        ),
    )
)
OPTIONS = tuple(options + b"\1" * (-len(options) % 4) for options in OPTIONS)


class Operands:
    """The operands of one operation, read one after the other. After the last byte of the input, zeros are read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def are_spent(self) -> bool:
        """Whether the whole input was read."""
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")

    def byte(self) -> int:
        """The next byte, as a number."""
        return self.take(1)[0]

    def of(self, pool: Sequence[T]) -> T:
        """One item of a pool, which is not empty."""
        return pool[self.byte() % len(pool)]

    def flag(self) -> bool:
        """True for one byte in sixteen, never for zero: for what should happen seldom."""
        return self.byte() % 16 == 15

    def payload(self) -> bytes:
        """Data of one of the lengths in PAYLOAD_BYTES; its bytes differ."""
        return bytes(index & 0xFF for index in range(self.of(PAYLOAD_BYTES)))

    def client(self) -> bytes:
        """The address and port of one of many clients, six bytes."""
        return pack_endpoint(self.of(CLIENT_ADDRESSES), FIRST_CLIENT_PORT + self.byte())

    def number(self, known: Sequence[int]) -> int:
        """A sequence number: one of those given, or one near it."""
        return (self.of(known) + self.of(OFFSETS)) % 2**32


def numbers_of(session: Session) -> tuple[int, ...]:
    """All sequence numbers that a session remembers, as either end would use them.

    The first two are what the client would send and acknowledge next, the next two the same for the real server.
    """
    there, back = session.record(Direction.INBOUND), session.record(Direction.OUTBOUND)
    opening, challenge = session.opening, session.challenge
    progress = progress_of(session)
    client_acked, rs_acked, rs_next_seq = progress.client.acked, progress.real_server.acked, progress.real_server.next_seq
    rs_acked += rs_acked == session.isn
    return (
        rs_acked + back.ack_delta,
        rs_next_seq + back.seq_delta,
        rs_next_seq,
        rs_acked,
        session.isn,
        session.client_isn,
        client_acked,
        client_acked + there.ack_delta,
        (session.cookie or 0) + 1,
        0 if challenge is None else challenge.ack,
        0 if opening is None else opening.rs_first_seq or 0,
        *FIRST_NUMBERS,
    )


def answer(raw: bytes, operands: Operands) -> bytes:
    """What the receiver of a TCP packet sends back: the right answer, one that is nearly right, or any other."""
    packet = dpkt.ip.IP(raw)
    seen = packet.data
    source, destination = raw[16:20] + raw[22:24], raw[12:16] + raw[20:22]
    is_syn, is_fin = bool(seen.flags & dpkt.tcp.TH_SYN), bool(seen.flags & dpkt.tcp.TH_FIN)
    has_ack = bool(seen.flags & dpkt.tcp.TH_ACK)
    usual = "SA" if is_syn and not has_ack else "A"
    flags = operands.of(ANSWERS) or usual
    seq = seen.ack if has_ack else operands.of(FIRST_NUMBERS[1:])
    ack = (seen.seq + len(seen.data) + is_syn + is_fin + operands.of((0, 0, 0, *OFFSETS))) % 2**32
    reply = tcp(
        source, destination, flags, seq=seq, ack=ack, data=operands.payload(), window=operands.of(WINDOWS),
        options=operands.of(OPTIONS),
    )  # fmt: skip
    return flawed(reply, operands)


def flawed(raw: bytes, operands: Operands) -> bytes:
    """The packet; in few cases with a wrong TCP or UDP checksum, or a wrong IP header checksum."""
    if operands.flag():
        raw = changed(raw, len(raw) - 1, 0x55)
    return changed(raw, 11, 0x55) if operands.flag() else raw


def changed(raw: bytes, place: int, by: int) -> bytes:
    """The packet with some bits of one byte inverted; unchanged when it has no byte there."""
    return raw[:place] + bytes((raw[place] ^ by,)) + raw[place + 1 :] if place < len(raw) else raw


def with_right_checksums(raw: bytes) -> bytes:
    """The same bytes, whatever they are, with right lengths and checksums as far as there is room for them."""
    if len(raw) < 20:
        return raw
    head = raw[:2] + len(raw).to_bytes(2, "big") + raw[4:10] + b"\0\0" + raw[12:20]
    head = head[:10] + _checksum(head) + head[12:]
    body, place = raw[20:], {1: 2, 6: 16, 17: 6}.get(raw[9], len(raw))
    if place + 2 > len(body):
        return head + body
    pseudo = b"" if raw[9] == 1 else head[12:20] + bytes((0, raw[9])) + len(body).to_bytes(2, "big")
    return head + body[:place] + _checksum(pseudo + body[:place] + b"\0\0" + body[place + 2 :]) + body[place + 2 :]


def _checksum(data: bytes) -> bytes:
    return int(dpkt.in_cksum(data)).to_bytes(2, "big")
