"""What happens in the life of a session, chosen by the bytes of an input. Most of it is ordinary; the rest is what may come."""

from collections import deque

from appliance.state.progress import CLIENT_NEXT_SEQ, RS_NEXT_SEQ
from appliance.state.session import Session
from appliance.wire.flow import Direction, destination_of, source_of
from appliance.wire.layout import PROTO_UDP
from tests.kernel.lane import Judged, Lane
from tests.kernel.lives import Lives, transport_checksum, with_shifts
from tests.support.addresses import CLIENT, VIP
from tests.support.fuzz_operands import OPTIONS as ODD_OPTIONS
from tests.support.fuzz_operands import Operands, changed, with_right_checksums
from tests.support.segments import tcp, udp
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, WSCALE_7
from tests.support.world import World, plan

MASK = 2**32 - 1

_FIRST_NUMBERS = (1_000, 70_000, 2**32 - 1, 2**32 - 1500, 2**31, 0, 2**31 - 700, 3_000_000_000)

_SEQ_OFFSETS = (0,) * 24 + (
    -1, 1, -100, 100, -1460, 1460, 2920, 1 << 16, -(1 << 16) - 1, 1 << 20, (1 << 20) + 1, (1 << 30) - 1, 1 << 30, -(1 << 20),
    -(1 << 30), 1 << 31,
)  # fmt: skip
_ACK_OFFSETS = (0,) * 24 + (
    -1, 1, -18, 18, -1000, -1460, 2, -(1 << 16), -(1 << 16) - 1, 1 << 20, -(1 << 20), -(1 << 20) - 1, 1 << 30, 1 << 31,
    -(1 << 31) + 1, 1 << 16,
)  # fmt: skip
_FLAGS = ("A",) * 40 + ("PA",) * 24 + ("FA",) * 3 + (
    "FPA", "FAU", "R", "RA", "S", "SA", "", "F", "AU", "PAU", "AE", "AEW", "PAW", "SEW", "P", "FSRPAU", "SPA", "SF",
)  # fmt: skip
_PAYLOADS = (0,) * 12 + (1, 2, 3, 7, 18, 100, 101, 536, 999, 1400, 1412, 1440, 1447, 1448, 1452, 1453, 1460)
_SYN_ACK_OPTIONS = (
    LINUX_SYN, LINUX_SYN, MSS_1460 + SACK_PERMITTED + WSCALE_7 + b"\1\1\1", MSS_1460, b"", b"\x02\x04\x02\x18",
    b"\x02\x04\0\x50", b"\x02\x04\0\0", b"\x02\x04\xff\xff", b"\1\1\4\2" + MSS_1460, b"\1\1\1\0", b"\2\3\1\0",
    MSS_1460 + b"\1" * 36,
)  # fmt: skip
_WINDOWS = (64_240, 501, 0, 1, 65_535, 32_768, 4)
_MTUS = (1500, 1500, 1500, 1460, 1508, 576, 100, 9000)
_SHIFTS = (*range(-14, 15),)
_TTLS = (64,) * 30 + (1, 2, 255, 0)

_MOST_REMEMBERED = 8

_LONGEST_HELD = 12
"""Packets in a row of a session that the program may not have, after which it ends: another one has more to show."""


class Life:
    """One session, from its first packet to the end of the input."""

    def __init__(self, lives: Lives, operands: Operands, kind: str, synproxy: str) -> None:
        self.lives, self._operands, self.kind, self._synproxy = lives, operands, kind, synproxy
        self._sent: deque[tuple[bytes, int]] = deque(maxlen=_MOST_REMEMBERED)
        self._held_in_a_row = 0
        self._finished: bytes | None = None
        """The packet that comes next with its whole checksum, when it comes with that of its pseudo header."""

    @property
    def session(self) -> Session | None:
        """The session, while there is one."""
        inside = self.lives.world.inside
        return next((session for table in (inside.tcp, inside.udp) for bucket in table.walk() for session in bucket), None)

    def open(self) -> None:
        """Begin, or begin again."""
        match self.kind:
            case "plain":
                self.open_plain()
            case "proxied":
                self.open_proxied()
            case _:
                self.open_udp()

    def open_plain(self) -> None:
        """A client's SYN, what may come before the answer, and the answer."""
        operands = self._operands
        data = operands.of((b"",) * 12 + (b"early",))
        syn = tcp(CLIENT, VIP, "S", seq=operands.of(_FIRST_NUMBERS), ack=0, options=operands.of((LINUX_SYN, b"")), data=data)
        self._put(syn, 0)
        first = operands.of(_FIRST_NUMBERS)
        for _ in range(operands.of((0,) * 6 + (1, 2))):
            self.move()
        session = self.session
        if session is None:
            return
        ack = session.isn + 1 + operands.of((0,) * 12 + (len(data), 1, -1, 1 << 31))
        flags = operands.of(("SA",) * 14 + ("A", "RA", "SAE", "SPA"))
        options = operands.of(_SYN_ACK_OPTIONS)
        payload = operands.of((b"",) * 14 + (b"hello",))
        self._put(self._flawed(self._segment(session, 1, flags, first, ack & MASK, payload, options)), 1)
        for _ in range(operands.of((0,) * 6 + (1, 2))):
            self.move()
        if self.session is not None:
            self._put(self._segment(self.session, 0, "A", *self._next(self.session, 0), b"", operands.of((b"", _timestamp()))), 0)

    def open_proxied(self) -> None:
        """A client that returns its cookie, and a real server that accepts. The windows of both are shifted in any way."""
        operands, world = self._operands, self.lives.world
        seq, first = operands.of(_FIRST_NUMBERS), operands.of(_FIRST_NUMBERS)
        world.client.sends("S", seq=seq, options=LINUX_SYN)
        cookie = world.client.gets("SA").seq
        world.client.sends("PA", seq=(seq + 1) & MASK, ack=(cookie + 1) & MASK, data=b"GET")
        session = self.session
        if session is None:  # there is no real server to ask
            world._on_the_wire.clear()
            return
        rs, local = source_of(session.server_key), destination_of(session.server_key)
        world.put(tcp(rs, local, "SA", seq=first, ack=(session.isn + 1) & MASK, options=MSS_1460))
        world._on_the_wire.clear()
        with_shifts(session, operands.of(_SHIFTS), operands.of(_SHIFTS))
        self.lives.publish(session)

    def open_udp(self) -> None:
        """A client that asks, is answered, and asks again."""
        self._put(udp(CLIENT, VIP, b"question"), 0)
        session = self.session
        if session is not None:
            self._put(udp(source_of(session.server_key), destination_of(session.server_key), b"answer"), 1)
            self._put(udp(CLIENT, VIP, b"more"), 0)

    def move(self) -> None:
        """One thing that happens."""
        session, choice = self.session, self._operands.byte()
        if choice >= 250:
            self._repeat(self._operands.of((1, 2, 3, 12)))
        elif choice >= 243 and self._sent:
            raw, direction = self._operands.of(self._sent)
            self._put(raw, direction)
        elif choice >= 240:  # its real server is removed, or comes back
            weights = () if choice == 240 else (100,)
            self.lives.world.change(plan(weights=weights, with_udp=True, synproxy=self._synproxy))
            self.lives.write_settings()
        elif session is not None:
            self._packet(session, choice & 1)
        elif choice & 1:
            self.open()

    def _repeat(self, times: int) -> None:
        for raw, direction in list(self._sent)[:1] * times:
            self._put(raw, direction)

    def _packet(self, session: Session, direction: int) -> None:
        operands = self._operands
        if session.service.protocol == "udp":
            self._datagram(session, direction)
            return
        seq, ack = self._next(session, direction)
        seq, ack = (seq + operands.of(_SEQ_OFFSETS)) & MASK, (ack + operands.of(_ACK_OFFSETS)) & MASK
        payload = bytes(operands.of(_PAYLOADS))
        raw = self._segment(session, direction, operands.of(_FLAGS), seq, ack, payload, self._options(ack), self._window())
        self._put(self._flawed(raw), direction)

    def _datagram(self, session: Session, direction: int) -> None:
        operands = self._operands
        key = session.server_key if direction else session.client_key
        size, with_checksum = operands.of(_PAYLOADS), operands.byte() % 4 > 0
        raw = udp(
            source_of(key), destination_of(key), operands.take(1) * size, with_checksum=with_checksum, ttl=operands.of(_TTLS)
        )
        self._put(self._flawed(raw), direction)

    @staticmethod
    def _next(session: Session, direction: int) -> tuple[int, int]:
        """The numbers that the sender of a packet would use."""
        words = session.words
        mine, theirs = (RS_NEXT_SEQ, CLIENT_NEXT_SEQ) if direction else (CLIENT_NEXT_SEQ, RS_NEXT_SEQ)
        return words[mine] & MASK, (words[theirs] - session.record(Direction(direction)).ack_delta) & MASK

    def _segment(
        self, session: Session, direction: int, flags: str, seq: int, ack: int, data: bytes, options: bytes, window: int = 64_240
    ) -> bytes:
        key = session.server_key if direction else session.client_key
        ttl = self._operands.of(_TTLS)
        return tcp(
            source_of(key), destination_of(key), flags, seq=seq, ack=ack, data=data, options=options, window=window, ttl=ttl
        )

    def _window(self) -> int:
        if self._operands.byte() < 128:
            return self._operands.of(_WINDOWS)
        return int.from_bytes(self._operands.take(2), "big")

    def _options(self, ack: int) -> bytes:
        choice = self._operands.byte()
        if choice < 90:
            return b""
        if choice < 170:
            return _timestamp(self._operands.byte())
        if choice < 190:
            return self._operands.of(ODD_OPTIONS)
        blocks = 1 + choice % 4
        edges = b"".join(((ack + self._operands.byte() * 1460) & MASK).to_bytes(4, "big") for _ in range(2 * blocks))
        sack = bytes((1, 1, 5, 2 + 8 * blocks)) + edges
        return sack if blocks == 4 or choice < 220 else _timestamp() + sack

    def _flawed(self, raw: bytes) -> bytes:
        """The packet; in some cases with something wrong: checksums, lengths, a byte of its data or its headers."""
        choice = self._operands.byte()
        if choice < 232:
            return raw
        place = self._operands.byte() % len(raw)
        match choice % 6:
            case 0:
                return changed(raw, len(raw) - 1, 0x55)
            case 1:
                return changed(raw, 11, 0x55)
            case 2:
                return with_right_checksums(changed(raw, 20 + place % (len(raw) - 20), 1 + self._operands.byte() % 255))
            case 3:
                return changed(raw, place, 1 + self._operands.byte() % 255)
            case 4:
                return raw[: max(place, 20)]
            case _ if raw[9] == PROTO_UDP and not transport_checksum(raw):
                return raw
            case _:
                self._finished = raw
                return _with_checksum_of_pseudo_header(raw)

    def _put(self, raw: bytes, direction: int) -> Judged:
        finished, self._finished = self._finished, None
        self._sent.appendleft((finished or raw, direction))
        judged = self.lives.put(raw, direction, finished)
        self._held_in_a_row = (self._held_in_a_row + 1) * ("up_held" in judged.counted)
        if self._held_in_a_row > _LONGEST_HELD and (session := self.session) is not None:
            self.lives.end(session)
        return judged


def _timestamp(value: int = 7) -> bytes:
    return b"\x01\x01\x08\x0a" + bytes((0, 0, 1, value, 0, 0, 0, 9))


def _with_checksum_of_pseudo_header(raw: bytes) -> bytes:
    """As the kernel has it when its hardware will finish the checksum."""
    total = sum(int.from_bytes(raw[at : at + 2], "big") for at in range(12, 20, 2)) + raw[9] + len(raw) - 20
    at = 36 if raw[9] == 6 else 26
    return raw[:at] + (total % 65535 or 65535).to_bytes(2, "big") + raw[at + 2 :]


def live(lane: Lane, data: bytes) -> Lives:
    """A whole life, as the bytes say."""
    operands = Operands(data)
    kind = operands.of(("plain", "plain", "plain", "proxied", "proxied", "udp"))
    synproxy = "always" if kind == "proxied" else operands.of(("never", "never", "auto"))
    tunables = {
        "fullnat_toa_entry": operands.of((1, 1, 1, 0)),
        "fullnat_mss_adjust_entry": operands.of((1, 1, 0)),
        "synproxy_ack_storm_thresh": operands.of((2, 0, 1, 3, 10)),
        "fullnat_timestamp_remove_entry": operands.of((0, 1)),
        "fullnat_toa_kind": operands.of((254, 200)),
        "synproxy_defer": 0,
    }
    world = World(plan(with_udp=True, synproxy=synproxy), **tunables)
    world.shared.set_mtus({0: operands.of(_MTUS)})
    world.inside.read_shared(0)
    life = Life(Lives(lane, world), operands, kind, synproxy)
    life.open()
    while not operands.are_spent:
        life.move()
    return life.lives
