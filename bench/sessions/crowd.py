"""A shard with as many sessions as are wanted, opened and ended by real packets in a worker's turns: no kernel, no queue."""

import gc
import random
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import NamedTuple, TypeVar

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Verdict
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.queue_worker import EXPIRIES_PER_TURN, LOOK_INTERVAL_S, TURN_PACKETS
from appliance.shard.shard import Shard
from appliance.wire import layout as at
from appliance.wire.flow import Direction, flow_key, reverse_key
from bench.rig.segments import VIP, segment

OPENED_PER_S, MOST_OPENING_S = 10_000, 100
"""So many sessions begin each second; more when opening all of them would take longer than MOST_OPENING_S seconds."""

CLIENT_NETWORK, _HOSTS, _FIRST_PORT = bytes((198, 51, 100)), 254, 1024
SESSIONS_MAX = 10_000_000
"""With another fifth of them, which comes later, each still has a client's address and port of its own."""

_LOCAL_NETWORK, _REAL_SERVERS = "192.0.2", 4
_ROOM = 2
"""Local ports for each session: a pool that is half empty finds a free port at once."""

_KEY_BYTES = 12
_CLIENT_SEQ, _SERVER_SEQ = 1000, 5000
LONG_MS = 5
"""Longer pauses are counted: one may be caused by the machine, several are caused by the shard."""

_AFTER_ALL_S = 4000
"""Longer than any session lives, in seconds."""

_T = TypeVar("_T")


class Pauses:
    """The longest and the sum of many calls, in seconds, and how many were longer than LONG_MS.

    CPU time that another program takes is not a pause of the shard, so the clock is that of this thread. The kernel corrects that
    clock now and then, by more than a call may take; so no call counts for longer than it took by the monotonic clock.
    """

    def __init__(self) -> None:
        self.longest_s = self.total_s = 0.0
        self.long = 0

    def timed(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Call `call`, and count how long it took."""
        wall_start, start = time.perf_counter(), time.thread_time()
        result = call(*arguments)
        took_s = min(time.thread_time() - start, time.perf_counter() - wall_start)
        self.total_s += took_s
        if took_s > self.longest_s:
            self.longest_s = took_s
        self.long += took_s * 1e3 > LONG_MS
        return result


class Watched(NamedTuple):
    """What delayed packets: the work for each packet, and the looks at the timers between them."""

    handle: Pauses
    expire: Pauses


class Crowd:
    """A shard and its sessions, which are numbers from 0. `now` is simulated, in seconds: it moves on with each session that
    begins or ends, and with each tick."""

    def __init__(self, most: int) -> None:
        """At most `most` sessions at once; their numbers are below `most`."""
        self.shard = _new_shard(most)
        self.now = 0.0
        self.per_s = max(OPENED_PER_S, most // MOST_OPENING_S)
        self.watched = Watched(Pauses(), Pauses())
        # Written to now, so that it does not count as memory of the sessions.
        self._server_keys = bytearray(b"\xff") * (_KEY_BYTES * most)
        self._isns = array("I", bytes(4)) * most
        self._left = TURN_PACKETS
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self.shard._sessions)

    @contextmanager
    def watch(self) -> Iterator[Watched]:
        """Count pauses from here to the end of the block."""
        self.watched = Watched(Pauses(), Pauses())
        yield self.watched

    def open(self, numbers: Sequence[int]) -> None:
        """Open sessions one after another, at the pace of this crowd."""
        for number in numbers:
            self._open(number)
            self.now += 1 / self.per_s

    def replace(self, old: Sequence[int], new: Sequence[int]) -> None:
        """End each session of `old`, and open one of `new` after it."""
        for ending, beginning in zip(old, new, strict=True):
            self._end(ending)
            self._open(beginning)
            self.now += 1 / self.per_s

    def _open(self, number: int) -> None:
        """Hand in SYN, SYN-ACK and ACK; the last acknowledges a byte of the real server, which ends the opening."""
        inbound = client_key(number)
        self._send(segment(inbound, at.SYN, seq=_CLIENT_SEQ, ack=0), TO_REAL_SERVER)
        shown = at.HEADERS.unpack_from(self.shard.output.rewritten)
        outbound = reverse_key(shown[5])
        self._isns[number] = shown[6]
        self._send(segment(outbound, at.SYN | at.ACK, b"!", seq=_SERVER_SEQ, ack=self._acknowledged(number)), TO_CLIENT)
        self._send(segment(inbound, at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 2), TO_REAL_SERVER)
        self._server_keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES] = outbound

    def _end(self, number: int) -> None:
        """Hand in the FIN of the real server, that of the client, and the last ACK: the session is in TIME_WAIT then."""
        inbound, outbound = client_key(number), self.server_key(number)
        self._send(segment(outbound, at.FIN | at.ACK, seq=_SERVER_SEQ + 2, ack=self._acknowledged(number)), TO_CLIENT)
        self._send(segment(inbound, at.FIN | at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 3), TO_REAL_SERVER)
        self._send(segment(outbound, at.ACK, seq=_SERVER_SEQ + 3, ack=self._acknowledged(number) + 1 & 0xFFFFFFFF), TO_CLIENT)

    def _acknowledged(self, number: int) -> int:
        """What the real server acknowledges: the SYN that it was shown."""
        return self._isns[number] + 1 & 0xFFFFFFFF

    def _send(self, raw: bytes, expected: Verdict) -> None:
        verdict = self.watched.handle.timed(self.shard.handle, raw, self.now)
        if verdict is not expected:
            raise AssertionError(f"a packet was {verdict}, not {expected}: there is nothing to measure")
        self._left -= 1
        if not self._left:
            self._left = TURN_PACKETS
            self.shard.publish_counts()
            if self.now >= self._look_at:
                self._look_at = self.now if self._look() else self.now + LOOK_INTERVAL_S

    def _look(self) -> bool:
        """Look at the timers as a worker does in one turn; True when more sessions are due."""
        more = self.watched.expire.timed(self.shard.on_tick, self.now, EXPIRIES_PER_TURN)
        self.shard.output.segments.clear()
        return more

    def tick(self) -> float:
        """Move on by one tick and look at the timers until nothing is due. Returns the seconds of CPU time that took."""
        self.now += LOOK_INTERVAL_S
        before_s = self.watched.expire.total_s
        while self._look():
            pass
        return self.watched.expire.total_s - before_s

    def tick_until_empty(self) -> None:
        """Let time pass without packets until all sessions have ended. Raises AssertionError when something is left."""
        end = self.now + _AFTER_ALL_S
        while len(self) and self.now < end:
            self.tick()
        self._check_empty()

    def jump_until_empty(self) -> None:
        """Let all deadlines pass at once, as when the machine was suspended. Raises AssertionError when something is left."""
        self.now += _AFTER_ALL_S
        self.tick()
        self._check_empty()

    def _check_empty(self) -> None:
        sessions = self.shard._sessions
        tables = [bucket for table in (sessions.tcp, sessions.udp) for buckets in table.by_direction for bucket in buckets]
        ports = sum(pool.in_use for protocol in ("tcp", "udp") for _, _, pool in sessions.local_ports(protocol))
        left = (len(sessions), sum(map(len, tables)), len(sessions.wheel), len(sessions.by_state.time_wait), ports)
        if any(left):
            raise AssertionError(f"left of the sessions: {left}")

    def server_key(self, number: int) -> bytes:
        """The 12 address bytes of the real server's packets to a session that has been opened."""
        return bytes(self._server_keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES])

    def packets(self, numbers: Sequence[int], direction: Direction) -> list[bytes]:
        """A bare ACK of each session. Making it does not read the sessions, so that they are not in a cache when it is
        handled."""
        if direction is Direction.INBOUND:
            return [segment(client_key(number), at.ACK, seq=_CLIENT_SEQ + 1, ack=_SERVER_SEQ + 2) for number in numbers]
        return [
            segment(self.server_key(number), at.ACK, seq=_SERVER_SEQ + 2, ack=self._acknowledged(number)) for number in numbers
        ]


def _new_shard(most: int) -> Shard:
    lowest, highest = TUNABLES["fullnat_lport_min"].default, TUNABLES["fullnat_lport_max"].default
    wanted = 1 + _ROOM * most // (_REAL_SERVERS * (highest - lowest + 1))
    local_addresses = tuple(f"{_LOCAL_NETWORK}.{host}" for host in range(1, wanted + 1))
    real_servers = tuple(RealServerPlan(f"{_LOCAL_NETWORK}.{254 - n}", 8080, 100, n) for n in range(_REAL_SERVERS))
    service = ServicePlan("web", str(IPv4Address(VIP[:4])), 80, "rr", local_addresses, real_servers)
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, _REAL_SERVERS))), 1, _REAL_SERVERS)
    # No limit of sessions: here memory is the limit.
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()} | {"conn_max": 0, "source_conn_max": 0})
    return Shard(Plan(0, 1, 0, _REAL_SERVERS, (service,), "00" * 16, "11" * 16), shared, now=0.0)


def client_key(number: int) -> bytes:
    """The 12 address bytes of the client's packets of a session. No two sessions have the same address and port."""
    port, host = divmod(number, _HOSTS)
    return flow_key(CLIENT_NETWORK + bytes((host + 1,)) + (_FIRST_PORT + port).to_bytes(2, "big"), VIP)


def picked(numbers: Sequence[int], count: int) -> list[int]:
    """So many of the numbers at random, some perhaps twice: no session gets more packets than others for long."""
    return random.choices(numbers, k=count)


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """With the interpreter's cyclic collector off and all existing objects frozen, as in a worker."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
