"""A shard in a scene that a fuzzer chose, with every packet and every look at its timers checked. See `fuzz_operations`."""

from collections import deque
from dataclasses import replace
from itertools import islice
from math import inf
from typing import NamedTuple

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.queries import Query
from appliance.model.counters import BYTES
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Action, Verdict
from appliance.model.verdicts import CHALLENGED, COOKIE_SENT, HELD, TO_CLIENT, TO_REAL_SERVER
from appliance.policy.steering import shard_table, shards_without_ports
from appliance.sessions.walk import SessionWalk
from appliance.state.session import Session
from appliance.wire.flow import source_of
from appliance.wire.layout import PROTO_TCP
from tests.support.addresses import LIP1, LIP2, RS1_ADDRESS, RS2_ADDRESS
from tests.support.fuzz_operands import Operands
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.shard_invariants import (
    HALF_OPEN,
    SHORTEST_TCP_BYTES,
    Off,
    check_claims,
    check_deadline,
    check_rewritten,
    check_sent,
    check_sessions,
    how_far_off,
    sessions_of,
)
from tests.support.world import World, plan

SCENE_BYTES = 16

_SWITCHES = tuple(name for name, tunable in TUNABLES.items() if tunable.max == 1)
_TIMEOUTS = tuple(name for name in TUNABLES if "timeout" in name)

SYNPROXY_MODES = ("never", "always", "auto")
DEFERS = (None, 0, 1)
_SHARDS = ((0, 1), (0, 2), (1, 2))
_LOCAL_ADDRESSES = ((LIP1, LIP2), (LIP1,), (LIP1, LIP2), ())
_LPORT_MINS = (5000, 1025, 5001, 65_534, 60_000)
LPORT_WIDTHS = (16, 2, 4, 8, 300)
_CONN_MAX = (1_048_576, 0, 1, 2, 3, 8, 50)
TIME_WAIT_LIMITS = (262_144, 1, 2, 3)
BACKLOGS = (4096, 16, 17, 32)
WEIGHTS = ((100, 100), (100, 0), (0, 100), (0, 0), (100, None), (None, 100), (None, None), (1, 3))
"""Weights of the two real servers; None for one that the service does not have."""

_MOST_WALKS = 4
_MOST_REMEMBERED = 16
_LONGEST_COPY = 3840
"""Bytes of a packet that a queue copies."""

_MOST_ROUNDS = 10_000


class _Tally(NamedTuple):
    """Numbers of sessions, and of packets counted so far."""

    sessions: int
    time_wait: int
    translated: int
    others: int


class FuzzedShard:
    """A world, the packets that its shard got and sent last, and the walks in progress."""

    def __init__(self, operands: Operands, maps: FakeMaps | None = None) -> None:
        """With `maps` the kernel carries what it can; and the shard takes over at once what the kernel has moved."""
        self.plan = _plan(operands)
        self.world = World(self.plan, maps, **_tunables(operands))
        self.sent: deque[bytes] = deque(maxlen=_MOST_REMEMBERED)
        """Packets that were handed in, the newest first."""
        self.received: deque[bytes] = deque(maxlen=_MOST_REMEMBERED)
        """Packets that the shard let through or sent, the newest first."""
        self.walks: deque[SessionWalk] = deque(maxlen=_MOST_WALKS)
        self._kept: set[Off] = set()
        """How far off the checksums of packets were that a session may have kept. Packets may be held that are not sound. A SYN
        has to be sound, but for its IP header, which the kernel has checked."""
        self._challenged: set[bytes] = set()
        """SYNs that are judged again after their clients have answered the challenge."""
        self._are_settled = True

    def put(self, raw: bytes) -> Verdict:
        """Hand in a packet, and check what came of it."""
        world, raw = self.world, raw[:_LONGEST_COPY]
        self.sent.appendleft(raw)
        before = self._tally()
        verdict = world.put(raw)
        assert isinstance(verdict, Verdict)
        self._take_over()
        if verdict in (HELD, TO_REAL_SERVER, CHALLENGED) and raw[9] == PROTO_TCP:
            head, segment = how_far_off(raw)
            self._kept.add((head, segment if verdict is HELD else 0))
        if verdict is CHALLENGED:
            self._challenged.add(raw)
        if verdict.action is Action.REWRITTEN:
            rewritten = world._on_the_wire.pop(0)
            check_rewritten(raw, verdict, rewritten, self._kept)
            if verdict is TO_REAL_SERVER and raw[9] == PROTO_TCP:
                check_claims(rewritten, source_of(raw[12:24]), world.shared.tunable("fullnat_toa_kind"))
            self.received.appendleft(rewritten)
        if len(raw) >= SHORTEST_TCP_BYTES and raw[9] == PROTO_TCP:
            self._check_segment(raw, verdict, len(world.inside) > before.sessions)
        self._take_segments()
        self._check_tally(before, verdict)
        return verdict

    def _take_over(self) -> None:
        """Let the shard know what the kernel has done."""
        if self.world.maps.entries:
            self.world.reconcile()
            for session in self.sessions():
                self.world.inside.lane.refresh(session)

    def _check_segment(self, raw: bytes, verdict: Verdict, has_opened: bool) -> None:
        """Check what a TCP packet did, and its session if it has one now."""
        sessions = self.world.inside
        session, _ = sessions.tcp.find(raw[12:24])
        if session is not None:
            check_deadline(session, verdict, raw[33], sessions.tunables.timeouts_s, self.world.now)
        if verdict is COOKIE_SENT:
            assert session is None or session.state not in HALF_OPEN, (
                "a client is asked for a proof while its real server is asked"
            )
        if has_opened or verdict is COOKIE_SENT:
            assert how_far_off(raw)[1] == 0, "a damaged packet began something"

    def expire(self, limit: int) -> bool:
        """Look at the timers once; True when more is due."""
        before = len(self.world.inside.by_state.time_wait)
        is_behind = self.world.shard.on_tick(self.world.now, limit)
        self._are_settled |= not is_behind
        self._take_segments()
        left = len(self.world.inside.by_state.time_wait)
        assert left <= max(before - limit, self._room_in_time_wait(), 0), "too many are left in TIME_WAIT"
        return is_behind

    def expire_all(self) -> None:
        """Look at the timers until nothing is due."""
        for _ in range(_MOST_ROUNDS):
            if not self.expire(100):
                break
        else:
            raise AssertionError("looking at the timers never ends")
        sessions = self.world.inside
        assert all(session.deadline > self.world.now - sessions.wheel.tick_s for session in self.sessions()), (
            "a session should have ended"
        )

    def settle(self) -> None:
        """Tell some sessions what a reload changed."""
        self._are_settled |= not self.world.inside.changes.settle_some()

    def reload(self, weights: list[int]) -> None:
        """Give each service other real servers or weights."""
        chosen = [WEIGHTS[number % len(WEIGHTS)] for number in weights]
        self.world._note(f"  reload: {chosen}")
        services = [_with_weights(service, each) for service, each in zip(self.plan.services, chosen, strict=True)]
        self.world.shard.change_services(services)
        if self.world.maps.entries:
            self.world.kernel.change_services(tuple(services))
        self._are_settled = False

    def write(self, changes: dict[str, int]) -> None:
        """Write tunables, unless the director would refuse that because a shard would have no local port."""
        shared, shards = self.world.shared, self.plan.shards
        low, high = (changes.get(name, shared.tunable(name)) for name in ("fullnat_lport_min", "fullnat_lport_max"))
        if not shards_without_ports(shard_table(shards), low, high):
            self.world._note(f"  {changes}")
            shared.set_tunables(changes)

    def tell_of_the_other_shard(self, sessions: int, time_wait: int) -> None:
        """Say how many sessions the other shard has, and how many of them in TIME_WAIT. Does nothing when there is one shard."""
        for other in {0, 1} - {self.plan.shard} if self.plan.shards > 1 else ():
            self.world.shared.session_counts[other], self.world.shared.time_wait_counts[other] = sessions, time_wait

    def ask(self, query: Query) -> None:
        """Begin a walk through the sessions. When there are too many walks, the oldest ends, as for a client that
        disconnected."""
        self.walks.append(self.world.shard.walk(query))

    def step(self, walk: SessionWalk) -> None:
        """Make the next piece of an answer. After one that ended at its limit, ask for the rest."""
        piece = walk.step(self.world.now)
        self._take_segments()
        assert not walk._query.limit or len(piece.items) <= walk._query.limit
        if piece.is_last:
            self.walks.remove(walk)
        if piece.place:
            self.ask(walk._query._replace(after=piece.place))

    def sessions(self) -> list[Session]:
        """All sessions, in the order of their keys."""
        return sorted(sessions_of(self.world.inside), key=lambda session: (session.service.protocol, session.client_key))

    def check(self) -> None:
        """Check everything that is true between two packets."""
        check_sessions(self.world, are_settled=self._are_settled)
        if self.world.maps.entries:
            check_lane(self.world.inside.lane, self.world.maps, self.sessions())

    def finish(self) -> None:
        """Let all timeouts pass, and check that nothing is left."""
        self.tell_of_the_other_shard(0, 0)
        for _ in range(10):  # a SYN may be sent again six times before its session ends
            self.world.now += 100_000
            self.expire_all()
            if not len(self.world.inside):
                break
        self.world.assert_empty()
        for _ in range(_MOST_ROUNDS):
            if not self.walks:
                return
            self.step(self.walks[0])
        raise AssertionError("a walk never ends")

    def _take_segments(self) -> None:
        """Check the packets that the shard made by itself, and take them off the wire."""
        self.world._collect_segments()
        for segment in self.world._on_the_wire:
            check_sent(segment, (*self._challenged, *islice(self.sent, 1)), self._kept)
            self.received.appendleft(segment)
        self.world._on_the_wire.clear()

    def _tally(self) -> _Tally:
        sessions = self.world.inside
        real_servers = [each for service in sessions._services.values() for each in service.all_real_servers]
        carried = sum(self.world.kernel.traffic.values()) if self.world.maps.entries else 0
        translated = carried + sum(sum(each.counts[:BYTES]) for each in real_servers)
        others = sum(self.world.shared.table(self.plan.shard, "verdicts"))
        return _Tally(len(sessions), len(sessions.by_state.time_wait), translated, others)

    def _check_tally(self, before: _Tally, verdict: Verdict) -> None:
        """Check that the packet was counted once, and that there are not more sessions, or sessions in TIME_WAIT, than
        allowed."""
        now = self._tally()
        limit = self.world.shared.tunable("conn_max") or inf
        assert now.sessions <= max(before.sessions, limit - self._elsewhere(self.world.shared.session_counts)), "over conn_max"
        assert now.time_wait <= max(before.time_wait, self._room_in_time_wait(), 1), "over tcp_max_tw_buckets"
        is_translated = verdict in (TO_REAL_SERVER, TO_CLIENT)
        assert now.translated - before.translated == is_translated, "packets of real servers"
        # A packet that opens a proxied session is counted as a verdict, too; no view shows that.
        assert is_translated or now.others - before.others == 1, "verdicts"

    def _room_in_time_wait(self) -> int:
        shared = self.world.shared
        return shared.tunable("tcp_max_tw_buckets") - self._elsewhere(shared.time_wait_counts)

    def _elsewhere(self, counts: memoryview) -> int:
        """The count of the other shard."""
        return int(sum(counts) - counts[self.plan.shard])


def lport_range(operands: Operands) -> dict[str, int]:
    """A range of local ports in which every shard has at least one."""
    low, width = operands.of(_LPORT_MINS), operands.of(LPORT_WIDTHS)
    return {"fullnat_lport_min": low, "fullnat_lport_max": min(low + width - 1, 65_535)}


def _plan(operands: Operands) -> Plan:
    """Two TCP services and a UDP service, with the same two real servers."""
    shard, shards = operands.of(_SHARDS)
    web_mode, api_mode = operands.of(SYNPROXY_MODES), operands.of(SYNPROXY_MODES)
    defer, locals_ = operands.of(DEFERS), operands.of(_LOCAL_ADDRESSES)
    base = plan(
        weights=(100, 100), local_addresses=tuple(map(str, locals_)), shard=shard, shards=shards, with_udp=True,
        synproxy=web_mode, synproxy_defer=defer,
    )  # fmt: skip
    web, dns = base.services
    real_servers = tuple(replace(each, slot=each.slot + 4) for each in web.real_servers)
    api = replace(web, name="api", port=443, real_servers=real_servers, synproxy=api_mode, synproxy_defer=None)
    return replace(base, services=(web, api, dns), destinations=6)


def _with_weights(service: ServicePlan, weights: tuple[int | None, ...]) -> ServicePlan:
    first = service.real_servers[0].slot
    addresses = enumerate((RS1_ADDRESS, RS2_ADDRESS))
    return replace(
        service,
        real_servers=tuple(
            RealServerPlan(str(address), 8080, weight, first + index)
            for (index, address), weight in zip(addresses, weights, strict=True)
            if weight is not None
        ),
    )


def _tunables(operands: Operands) -> dict[str, int]:
    """The tunables of a scene: some switches inverted, limits that are reached soon, all timeouts short or long."""
    timeouts, turned = operands.byte() % 4, int.from_bytes(operands.take(4), "big")
    values = {name: TUNABLES[name].default ^ (turned >> bit & 1) for bit, name in enumerate(_SWITCHES)}
    for name in _TIMEOUTS if timeouts else ():
        values[name] = TUNABLES[name].min if timeouts % 2 else TUNABLES[name].max
    return values | {
        **lport_range(operands),
        "conn_max": operands.of(_CONN_MAX),
        "tcp_max_tw_buckets": operands.of(TIME_WAIT_LIMITS),
        "tcp_max_syn_backlog": operands.of(BACKLOGS),
    }
