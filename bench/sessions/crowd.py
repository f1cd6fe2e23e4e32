"""A shard with as many sessions as are wanted, opened and ended by real packets in a worker's turns: no kernel, no queue."""

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import NamedTuple, TypeVar

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER, Verdict
from appliance.queue_worker import EXPIRIES_PER_TURN, LOOK_INTERVAL_S, TURN_PACKETS
from appliance.shard.shard import Shard
from appliance.wire import layout as at
from appliance.wire.flow import Direction, flow_key, reverse_key
from bench.rig.segments import VIP, segment

OPENED_PER_S, MOST_OPENING_S = 10_000, 100
"""So many sessions begin each second; more where opening all would take longer than so many seconds."""

CLIENT_NETWORK, _HOSTS, _FIRST_PORT = bytes((198, 51, 100)), 254, 1024
SESSIONS_MAX = 10_000_000
"""With the fifth that comes later they still have a client's address and port each."""

_LOCAL_NETWORK, _REAL_SERVERS = "192.0.2", 4
_ROOM = 2
"""So many local ports for each session there may be: a pool that is half empty finds a free one at once, as it should."""

_KEY_BYTES = 12
_CLIENT_SEQ, _SERVER_SEQ = 1000, 5000
LONG_MS = 5
"""A pause that is longer than this is counted: one alone may be the machine's, several are the shard's."""

_AFTER_ALL_S = 4000
"""Longer than any session lives, in seconds."""

_T = TypeVar("_T")


class Pauses:
    """The longest and the sum of many calls, in seconds, and how many were longer than LONG_MS.

    What another program takes of the CPU is no pause of ours, so the clock is that of this thread. It is set right now and then,
    by more than a call may take; so no call counts for longer than it was by the clock on the wall.
    """

    def __init__(self) -> None:
        self.longest_s = self.total_s = 0.0
        self.long = 0

    def timed(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Call it, and count how long that took."""
        wall_start, start = time.perf_counter(), time.thread_time()
        result = call(*arguments)
        took_s = min(time.thread_time() - start, time.perf_counter() - wall_start)
        self.total_s += took_s
        if took_s > self.longest_s:
            self.longest_s = took_s
        self.long += took_s * 1e3 > LONG_MS
        return result


class Watched(NamedTuple):
    """What held packets up meanwhile: each packet's own work, and the looks at the timers between them."""

    handle: Pauses
    expire: Pauses


class Crowd:
    """Sessions are numbers from 0. `now` is simulated, in seconds, and moves on as sessions come and go, and with each tick."""

    def __init__(self, most: int) -> None:
        """There will never be more than `most` sessions at once, and no number from `most` on."""
        self.shard = _new_shard(most)
        self.now = 0.0
        self.per_s = max(OPENED_PER_S, most // MOST_OPENING_S)
        self.watched = Watched(Pauses(), Pauses())
        # Touched here and now, so that it does not count as memory of the sessions.
        self._server_keys = bytearray(b"\xff") * (_KEY_BYTES * most)
        self._left = TURN_PACKETS
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self.shard.sessions)

    @contextmanager
    def watch(self) -> Iterator[Watched]:
        """What is counted inside is of this time alone."""
        self.watched = Watched(Pauses(), Pauses())
        yield self.watched

    def open(self, numbers: Sequence[int]) -> None:
        """Each begins, one after another, at the pace of this crowd."""
        for number in numbers:
            self._open(number)
            self.now += 1 / self.per_s

    def replace(self, old: Sequence[int], new: Sequence[int]) -> None:
        """Each of `old` ends while one of `new` begins."""
        for ending, beginning in zip(old, new, strict=True):
            self._end(ending)
            self._open(beginning)
            self.now += 1 / self.per_s

    def _open(self, number: int) -> None:
        """SYN, SYN-ACK, ACK; the last acknowledges a byte of the real server, which is the end of the opening."""
        inbound = client_key(number)
        self._send(segment(inbound, at.SYN, seq=_CLIENT_SEQ, ack=0), TO_REAL_SERVER)
        shown = at.HEADERS.unpack_from(self.shard.rewritten)
        outbound = reverse_key(shown[5])
        self._send(segment(outbound, at.SYN | at.ACK, seq=_SERVER_SEQ, ack=shown[6] + 1 & 0xFFFFFFFF), TO_CLIENT)
        self._send(segment(inbound, at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 2), TO_REAL_SERVER)
        self._server_keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES] = outbound

    def _end(self, number: int) -> None:
        """FIN of the real server, as of a web server, then of the client, and the last ACK: it rests in TIME_WAIT."""
        inbound, outbound = client_key(number), self.server_key(number)
        self._send(segment(outbound, at.FIN | at.ACK, seq=_SERVER_SEQ + 2), TO_CLIENT)
        self._send(segment(inbound, at.FIN | at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 3), TO_REAL_SERVER)
        self._send(segment(outbound, at.ACK, seq=_SERVER_SEQ + 3), TO_CLIENT)

    def _send(self, raw: bytes, expected: Verdict) -> None:
        verdict = self.watched.handle.timed(self.shard.handle, raw, self.now)
        if verdict is not expected:
            raise AssertionError(f"a packet was {verdict}, not {expected}: there is nothing to measure")
        self._left -= 1
        if not self._left:
            self._left = TURN_PACKETS
            self.shard.sessions.publish_counts()
            if self.now >= self._look_at:
                self._look_at = self.now if self._look() else self.now + LOOK_INTERVAL_S

    def _look(self) -> bool:
        """The worker's look at the timers in one turn, of which the segments leave; True when more wait."""
        more = self.watched.expire.timed(self.shard.expire, self.now, EXPIRIES_PER_TURN)
        self.shard.segments.clear()
        return more

    def tick(self) -> float:
        """Move on by one tick and look until nothing waits; the seconds of the CPU that took."""
        self.now += LOOK_INTERVAL_S
        before_s = self.watched.expire.total_s
        while self._look():
            pass
        return self.watched.expire.total_s - before_s

    def tick_until_empty(self) -> None:
        """Nobody says anything any more, until all sessions are over. Raises AssertionError when something is left."""
        end = self.now + _AFTER_ALL_S
        while len(self) and self.now < end:
            self.tick()
        self._check_empty()

    def jump_until_empty(self) -> None:
        """As if the machine had slept until long after all deadlines."""
        self.now += _AFTER_ALL_S
        self.tick()
        self._check_empty()

    def _check_empty(self) -> None:
        sessions = self.shard.sessions
        tables = [bucket for table in (sessions.tcp, sessions.udp) for buckets in table.by_direction for bucket in buckets]
        ports = sum(pool.in_use for protocol in ("tcp", "udp") for _, _, pool in sessions.local_ports(protocol))
        left = (len(sessions), sum(map(len, tables)), len(sessions.wheel), len(sessions.by_state.time_wait), ports)
        if any(left):
            raise AssertionError(f"left of the sessions: {left}")

    def server_key(self, number: int) -> bytes:
        """The 12 address bytes of the real server's packets to a session that has been opened."""
        return bytes(self._server_keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES])

    def packets(self, numbers: Sequence[int], direction: Direction) -> list[bytes]:
        """A bare ACK of each; made without touching the sessions, which may so be in no cache when it is handled."""
        key = self.server_key if direction is Direction.OUTBOUND else client_key
        return [segment(key(number), at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 2) for number in numbers]


def _new_shard(most: int) -> Shard:
    lowest, highest = TUNABLES["fullnat_lport_min"].default, TUNABLES["fullnat_lport_max"].default
    wanted = 1 + _ROOM * most // (_REAL_SERVERS * (highest - lowest + 1))
    local_addresses = tuple(f"{_LOCAL_NETWORK}.{host}" for host in range(1, wanted + 1))
    real_servers = tuple(RealServerPlan(f"{_LOCAL_NETWORK}.{254 - n}", 8080, 100, n) for n in range(_REAL_SERVERS))
    service = ServicePlan("web", str(IPv4Address(VIP[:4])), 80, "rr", local_addresses, real_servers)
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, _REAL_SERVERS))), 1, _REAL_SERVERS)
    # The limit of the table is policy; here memory is the limit.
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()} | {"conn_max": 0})
    return Shard(Plan(0, 1, 0, _REAL_SERVERS, (service,), "00" * 16, "11" * 16), shared, now=0.0)


def client_key(number: int) -> bytes:
    """The 12 address bytes of the client's packets of a session: many addresses, and each port of theirs once."""
    port, host = divmod(number, _HOSTS)
    return flow_key(CLIENT_NETWORK + bytes((host + 1,)) + (_FIRST_PORT + port).to_bytes(2, "big"), VIP)


def picked(numbers: Sequence[int], count: int) -> list[int]:
    """So many of them at random, some perhaps twice: no session is a hot one."""
    return random.choices(numbers, k=count)


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """With the interpreter's cyclic collector off and what there is out of its sight, as a worker has it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
