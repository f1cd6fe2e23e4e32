"""A shard between a scripted client and a scripted real server, with a clock that only the test moves.

Every packet is written to a transcript, which is printed when an expectation fails.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.queries import ROWS, Query, SessionFilter
from appliance.ipc.rows import SessionRow
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS, QUEUE_COUNTERS, STATE_FIELDS
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Action, Verdict
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.walk import Piece
from appliance.shard.shard import Shard
from appliance.shard.tracer import Tracer
from appliance.state.progress import progress_of
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from appliance.wire.show import show
from tests.support.addresses import CLIENT, LIP1, LIP2, R0, RS1_ADDRESS, RS2_ADDRESS, VIP, VIP_ADDRESS
from tests.support.lane_kernel import LaneKernel
from tests.support.lane_maps import FakeMaps
from tests.support.segments import Seen, read_tcp, tcp


def plan(
    *,
    weights: tuple[int, ...] = (100,),
    local_addresses: tuple[str, ...] = (str(LIP1), str(LIP2)),
    shard: int = 0,
    shards: int = 1,
    with_udp: bool = False,
    synproxy: str = "never",
    synproxy_defer: int | None = None,
    has_predecessor: bool = False,
) -> Plan:
    """A TCP service with up to two real servers; and, on the same VIP and port, a UDP service with the same ones."""
    addresses = (str(RS1_ADDRESS), str(RS2_ADDRESS))
    real_servers = tuple(
        RealServerPlan(address, 8080, weight, slot)
        for slot, (address, weight) in enumerate(zip(addresses, weights, strict=False))
    )
    service = ServicePlan(
        "web", str(VIP_ADDRESS), 80, "rr", local_addresses, real_servers, synproxy=synproxy, synproxy_defer=synproxy_defer
    )
    services = [service]
    if with_udp:
        theirs = tuple(replace(real_server, slot=2 + real_server.slot) for real_server in real_servers)
        services.append(replace(service, name="dns", protocol="udp", synproxy="never", real_servers=theirs))
    return Plan(shard, shards, shard, 4, tuple(services), "00" * 16, "11" * 16, has_predecessor)


class World:
    """A shard and its two ends, `client` and `rs`. `now` starts at 1000 s and moves only when a test moves it."""

    def __init__(self, scene: Plan | None = None, maps: FakeMaps | None = None, /, **tunables: int) -> None:
        """With `maps` there is a lane, whose kernel gets each packet first while `carries` says so. It opens no sessions, so
        nothing is prepared for it; a test with a `TicketKernel`, which does, switches that on."""
        self.plan = scene or plan()
        self.now = 1000.0
        size = size_bytes(self.plan.shards, self.plan.destinations)
        self.shared = SharedState.create(memoryview(bytearray(size)), self.plan.shards, self.plan.destinations)
        defaults = {name: tunable.default for name, tunable in TUNABLES.items()}
        self.shared.set_tunables({**defaults, "prepared_admissions": 0, **tunables})
        self.maps = maps or FakeMaps(0)
        self.host_has: Callable[[bytes], bool] = lambda _: False
        """Whether the host has a socket for a segment."""
        self.shard = Shard(self.plan, self.shared, self.now, maps, lambda key: self.host_has(key))
        self.tracer = Tracer(self.shard.handle, self.shard.sessions, self.shard.output)
        self.carries: Callable[[], bool] = lambda: True
        self.carried = 0
        """How many packets the kernel has carried."""
        self.transcript: list[str] = []
        self.client = Client(self)
        self.rs = RealServerEnd(self)
        self._on_the_wire: list[bytes] = []

    @cached_property
    def kernel(self) -> LaneKernel:
        """What carries the packets of the lane."""
        return LaneKernel(self.plan, self.shared, self.maps)

    @property
    def inside(self) -> Sessions:
        """The sessions as the shard keeps them, for tests that look inside."""
        return self.shard._sessions

    def put(self, raw: bytes) -> Verdict:
        """Hand a packet to the shard as the queue does. Packets that it lets through or sends are on the wire afterwards."""
        carried = self.kernel.carry(raw, self.now) if self.maps.table and self.carries() else None
        if carried is not None:
            verdict, rewritten = carried
            self.carried += 1
        else:
            verdict = (self.tracer if self.tracer.traces else self.shard).handle(raw, self.now)
            rewritten = self.shard.output.rewritten
        self._note(f"> {show(raw)}   {verdict!r}")
        if verdict.action is Action.REWRITTEN:
            self._on_the_wire.append(rewritten)
        self._collect_segments()
        return verdict

    def reconcile(self) -> None:
        """Let the shard take over all that the kernel has moved."""
        while self.shard.reconcile(1, self.now):
            pass
        self._collect_segments()

    def change(self, scene: Plan) -> None:
        """Give the services the real servers and weights of another plan, as a reload does, and tell all sessions."""
        self.shard.change_services(scene.services)
        if self.maps.entries:
            self.kernel.change_services(scene.services)
        while self.inside.changes.settle_some():
            pass

    def restart(self, scene: Plan | None = None, **tunables: int) -> "World":
        """Start another worker in the place of this one, which ends without a word, with shared memory of a new run."""
        self.plan = scene or self.plan
        size = size_bytes(self.plan.shards, self.plan.destinations)
        values = {name: self.shared.tunable(name) for name in TUNABLES} | tunables
        self.shared = SharedState.create(memoryview(bytearray(size)), self.plan.shards, self.plan.destinations)
        self.shared.set_tunables(values)
        self.shard = Shard(self.plan, self.shared, self.now, self.maps)
        self.__dict__.pop("kernel", None)
        self.shard.adopt(self.now)
        self._on_the_wire.clear()
        self._collect_segments()
        return self

    def sleep(self, seconds: float) -> None:
        """Let time pass, and look at the timers at least once in each tick of the wheel."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.1)
            self.shard.reconcile(1000, self.now)
            while self.shard.on_tick(self.now, 10):
                pass
        self._note(f"  slept {seconds} s")
        self._collect_segments()

    def take(self, destination: bytes) -> bytes:
        """Take the oldest packet on the wire to a four-byte address. Raises AssertionError when there is none."""
        for index, raw in enumerate(self._on_the_wire):
            if raw[16:20] == destination[:4]:
                return self._on_the_wire.pop(index)
        raise AssertionError("nothing on the wire for that end\n" + "\n".join(self.transcript))

    def last_to(self, destination: bytes) -> bytes | None:
        """The newest packet on the wire to a four-byte address, which stays there; None when there is none."""
        return next((raw for raw in reversed(self._on_the_wire) if raw[16:20] == destination[:4]), None)

    def assert_empty(self) -> None:
        """Check that no session, timer, gauge or local port is left."""
        assert len(self.inside.tcp) == len(self.inside.udp) == 0
        assert self.inside.wheel.next_look() is None
        assert not any(self.shared.session_counts)
        sessions = self.inside
        assert not any(sessions.by_state.counts)
        assert not sessions.by_state.time_wait
        assert not sessions.by_state.unconfirmed
        assert not any(self.shared.udp_counts)
        assert not any(counts.in_use for counts in sessions.sources.values())
        assert not any(service.half_open for service in sessions._services.values())
        assert not any(bucket for table in (sessions.tcp, sessions.udp) for half in table.by_direction for bucket in half)
        for slot in range(self.plan.destinations):
            gauges = self.destination(slot)
            assert gauges["active_conns"] == gauges["inactive_conns"] == gauges["opening_conns"] == 0
        for admission in (self.inside._tcp_admission, self.inside._udp_admission):
            assert not any(pool.in_use or pool._outside for pool in admission.local_ports._pools.values())

    def assert_quiet(self) -> None:
        """Check that no packet is on the wire."""
        assert not self._on_the_wire, "not quiet:\n" + "\n".join(self.transcript)

    def counter(self, name: str) -> int:
        """A counter of this shard, of the extended or the queue table or of a verdict. Raises KeyError for an unknown name."""
        from appliance.model.counters import VERDICT_COUNTERS

        for table, counters in (("ext", EXT_COUNTERS), ("queue", QUEUE_COUNTERS), ("verdicts", VERDICT_COUNTERS)):
            for index, counter in enumerate(counters):
                if counter.name == name:
                    return int(self.shared.table(self.plan.shard, table)[index])
        raise KeyError(name)

    def destination(self, slot: int = 0) -> dict[str, int]:
        """The counters of a real server, as the director sees them."""
        self.shard.publish_counts()
        return dict(zip(DESTINATION_FIELDS, self.shared.destination(self.plan.shard, slot).tolist(), strict=True))

    def by_state(self) -> dict[str, int]:
        """The gauges of the shard that are not zero, as the director sees them."""
        self.shard.publish_counts()
        gauges = zip(STATE_FIELDS, self.shared.table(self.plan.shard, "states"), strict=True)
        return {name: gauge for name, gauge in gauges if gauge}

    def state(self) -> str:
        """The state of the only session."""
        (row,) = self.rows()
        return row.state

    def rows(self, **wanted: str) -> list[SessionRow]:
        """The sessions that match a filter, as views show them at this moment."""
        return [row for piece in self.walk(Query(ROWS, SessionFilter(**wanted))) for row in piece.items]

    def walk(self, query: Query) -> Iterator[Piece]:
        """All pieces of an answer, each made when it is asked for."""
        walk = self.shard.walk(query)
        while True:
            piece = walk.step(self.now)
            self._collect_segments()
            yield piece
            if piece.is_last:
                return

    def walk_all(self, kind: str) -> None:
        """Answer a query of a kind about all sessions to its end."""
        for _ in self.walk(Query(kind, SessionFilter())):
            pass

    def sessions(self) -> list[Session]:
        """All TCP sessions."""
        return [session for bucket in self.inside.tcp.walk() for session in bucket]

    def complete(self, client: bytes) -> Verdict:
        """Do what is left of this client's handshake with a plain service after its SYN."""
        session = next(session for session in self.sessions() if source_of(session.client_key) == client)
        rs, local = source_of(session.server_key), destination_of(session.server_key)
        self.put(tcp(rs, local, "SA", seq=R0, ack=add(session.isn, 1)))
        return self.put(tcp(client, VIP, "A", seq=progress_of(session).client.next_seq, ack=R0 + 1))

    def _note(self, line: str) -> None:
        self.transcript.append(line)

    def _collect_segments(self) -> None:
        for raw in self.shard.output.segments:
            self._note(f"< {show(raw)}   (our own)")
        self._on_the_wire += self.shard.output.segments
        self.shard.output.segments.clear()


class End:
    """One end: its own address and that of its peer, which is known from the first packet on."""

    def __init__(self, world: World, here: bytes, there: bytes) -> None:
        self.world = world
        self.here = here
        self.there = there

    def sends(self, flags: str, *, seq: int = 0, ack: int = 0, data: bytes = b"", **fields: int | bytes) -> Verdict:
        """Send a segment to the peer; returns the verdict."""
        return self.world.put(tcp(self.here, self.there, flags, seq=seq, ack=ack, data=data, **fields))  # type: ignore[arg-type]

    def gets(self, flags: str, **expected: object) -> Seen:
        """The next segment for this end. Checks its checksums, its flags and the fields that are named."""
        seen = self._as_the_test_says(read_tcp(self.world.take(self.here)))
        found = {"flags": "".join(sorted(seen.flags)), **{name: getattr(seen, name) for name in expected}}
        wanted = {"flags": "".join(sorted(flags)), **expected}
        assert found == wanted, f"{found} != {wanted}\n" + "\n".join(self.world.transcript)
        assert seen.destination[:4] == self.here[:4]
        return seen

    def _as_the_test_says(self, seen: Seen) -> Seen:
        return seen


class Client(End):
    """The client, whose peer is the VIP."""

    def __init__(self, world: World) -> None:
        super().__init__(world, CLIENT, VIP)
        self.isn = 0
        """The initial sequence number it used last."""

    def sends(self, flags: str, *, seq: int = 0, ack: int = 0, data: bytes = b"", **fields: int | bytes) -> Verdict:
        if flags == "S":
            self.isn = seq
        return super().sends(flags, seq=seq, ack=ack, data=data, **fields)

    def connects(self, seq: int = 1_000, rs_seq: int = 70_000) -> None:
        """Do the three-way handshake, to which both ends agree."""
        rs = self.world.rs
        self.sends("S", seq=seq)
        rs.gets("S", seq=seq)
        rs.sends("SA", seq=rs_seq, ack=seq + 1)
        self.gets("SA", seq=rs_seq, ack=seq + 1)
        self.sends("A", seq=seq + 1, ack=rs_seq + 1)
        rs.gets("A", seq=seq + 1, ack=rs_seq + 1)


class RealServerEnd(End):
    """The real server. It learns the local address, and which of the real servers it is, from the first packet it gets.

    Tests use the client's sequence numbers at both ends. The numbers that the gateway shows to this end differ from them by
    `shift`, which it learns from each SYN. It subtracts the shift from what it gets, and adds it to what it acknowledges."""

    def __init__(self, world: World) -> None:
        super().__init__(world, b"", b"")
        self.shift = 0
        self.isn = 0
        """The initial sequence number it was last shown."""

    def gets(self, flags: str, **expected: object) -> Seen:
        if not self.here:
            first = next(raw for raw in self.world._on_the_wire if raw[16:20] != CLIENT[:4])
            self.here = destination_of(first[12:24])
        seen = super().gets(flags, **expected)
        self.here, self.there = seen.destination, seen.source
        return seen

    def sends(self, flags: str, *, seq: int = 0, ack: int = 0, data: bytes = b"", **fields: int | bytes) -> Verdict:
        shown_ack = (ack + self.shift) % 2**32 if "A" in flags else ack
        return super().sends(flags, seq=seq, ack=shown_ack, data=data, **fields)

    def _as_the_test_says(self, seen: Seen) -> Seen:
        if seen.flags == "S":
            self.isn = seen.seq
            self.shift = (seen.seq - self.world.client.isn) % 2**32
        return replace(seen, seq=(seen.seq - self.shift) % 2**32)
