"""A gateway for tests of the API: its shared memory is a bytearray, and the test sets its answers."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from ipaddress import IPv4Address

from appliance.attack.kinds import KINDS
from appliance.attack.watch import AttackWatch, Clients, Look
from appliance.director.events import Events
from appliance.doctor.examine import Report
from appliance.doctor.finding import Finding, Severity
from appliance.edge.tls import ServerTls
from appliance.health.changes import StateChange
from appliance.health.check import Target
from appliance.ipc.persistence_table import PersistenceTable, client_number, service_number
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.queries import Query, SessionFilter
from appliance.ipc.ring_figures import RingFigures
from appliance.ipc.rows import (
    Caller,
    Consistency,
    DrainState,
    DutyState,
    LaneState,
    LaneStats,
    Page,
    RealServerHealth,
    ServiceHealth,
    ServiceRing,
    SessionLogCounts,
    SessionRow,
    ShardState,
    Slab,
)
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.ipc.traced import TraceBatch
from appliance.model.counters import DESTINATION_FIELDS
from appliance.model.host_parameter import ALL, ONLY, HostParameter, HostParameterError, HostReading, Values, check_places
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.rates import Rates
from appliance.model.token import Tokens
from appliance.model.tunables import TUNABLES, TunableError, check_value
from tests.support.configuration import FakeConfiguration

SERVICES = (
    ServicePlan(
        name="web",
        vip="203.0.113.10",
        port=80,
        scheduler="rr",
        local_addresses=("192.0.2.10", "192.0.2.11"),
        real_servers=(RealServerPlan("192.0.2.101", 8080, 100, 0), RealServerPlan("192.0.2.102", 8080, 0, 1)),
    ),
    ServicePlan(
        name="names",
        vip="203.0.113.10",
        port=80,
        scheduler="rr",
        local_addresses=("192.0.2.10",),
        real_servers=(RealServerPlan("192.0.2.101", 53, 1, 2),),
        protocol="udp",
    ),
)

SESSION = SessionRow(
    service="web",
    client="198.51.100.2:40000",
    vip="203.0.113.10:80",
    local="192.0.2.10:5000",
    real_server="192.0.2.101:8080",
    state="ESTABLISHED",
    expires_s=899.9994,
    protocol="TCP",
    chosen="rr",
    age_s=65.43,
)

FINDING = Finding(
    Severity.WARNING,
    "",
    "clients keep their timestamps",
    "fullnat_timestamp_remove_entry is 0",
    "Take the option off the SYN.",
    ("appliance sysctl fullnat_timestamp_remove_entry=1",),
    name="timestamps_kept",
)

UDP_SESSION = SessionRow(
    service="names",
    client="198.51.100.2:40000",
    vip="203.0.113.10:80",
    local="192.0.2.10:5000",
    real_server="192.0.2.101:53",
    state="UDP",
    expires_s=300.0,
    protocol="UDP",
)


def shared_state(shards: int, destinations: int) -> SharedState:
    """New shared memory in which every tunable has its default."""
    shared = SharedState.create(memoryview(bytearray(size_bytes(shards, destinations))), shards, destinations)
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()})
    return shared


def fill_destinations(shards: int) -> SharedState:
    """Three real servers whose counters all differ: 1000 * (shard + 1) + 100 * slot + place of the field."""
    shared = shared_state(shards, destinations=3)
    for shard in range(shards):
        for slot in range(3):
            for place in range(len(DESTINATION_FIELDS)):
                shared.destination(shard, slot)[place] = 1000 * (shard + 1) + 100 * slot + place
    return shared


def attacks() -> AttackWatch:
    """A watch with one attack that is over, and one that is under way."""
    watch = AttackWatch()
    counts = dict.fromkeys((rule for kind in KINDS for rule in kind.rules), 0)
    for number in range(12):
        counts["no_session"] = min(number, 3) * 4000
        counts["fragment"] = max(0, number - 6) * 5000
        watch.look(Look(2.0 * number, 1_700_000_000 + 2.0 * number, dict(counts), Clients(20 * number, 3 * number)))
    return watch


class FakeHealth:
    """The health that the test sets."""

    def __init__(self) -> None:
        self.down: frozenset[int] = frozenset()
        self.troubles: dict[str, str] = {}
        self.notes: list[str] = []
        self.recent = [StateChange(1.5, Target("web", "192.0.2.102", 8080), False, "3 tcp checks failed in a row", "refused")]
        self.services = [
            ServiceHealth(
                "web",
                "",
                1,
                "refuse",
                "leave",
                [
                    RealServerHealth("192.0.2.101", 8080, "up", False, "tcp", 12.34, 0, "passed", "connected in 0.5 ms"),
                    RealServerHealth("192.0.2.102", 8080, "down", True, "tcp", 2.0, 1, "failed", "refused"),
                ],
            )
        ]

    def rows(self) -> list[ServiceHealth]:
        """What the test set."""
        return self.services


class FakeAccessControl:
    """What access lists and rate limits have dropped, as the test sets it."""

    def __init__(self) -> None:
        self.made_sets: frozenset[str] = frozenset()
        self.counted = {("web", "denied_drops"): 3, ("names", "not_allowed_drops"): 0}

    async def drops(self) -> dict[tuple[str, str], int]:
        """What the test set."""
        return self.counted


class FakeSessionLog:
    """What has become of its lines, as the test sets it."""

    def __init__(self) -> None:
        self.counts = SessionLogCounts(40, 2, 1)


class FakeDrains:
    """Drains of a gateway whose first real server has 7 sessions, until the test sets something else."""

    def __init__(self) -> None:
        self.deadlines: dict[Target, float | None] = {}
        self.known = {Target("web", "192.0.2.101", 8080): 0, Target("web", "192.0.2.102", 8080): 1}
        self.sessions = 7

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots of those that are drained."""
        return tuple(self.known[target] for target in self.deadlines)

    def state(self, target: Target, note: str = "") -> DrainState:
        """The state of one, which has been drained for two seconds if it is."""
        self.known[target]
        if target not in self.deadlines:
            return DrainState(target.service, target.endpoint, False, 0.0, None, self.sessions, False, "")
        is_gone, deadline_s = not self.sessions, self.deadlines[target]
        return DrainState(target.service, target.endpoint, True, 2.0, deadline_s, self.sessions, is_gone, note)

    async def begin(self, target: Target, deadline_s: float | None) -> None:
        """Drain one."""
        self.known[target]
        self.deadlines[target] = deadline_s

    async def take_back(self, target: Target) -> bool:
        """Take one back."""
        self.known[target]
        return self.deadlines.pop(target, 0) != 0


class FakeAccess:
    """A user who may write, no tokens, no TLS, until the test sets something else."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.remote_needs_token = True
        self.tls: ServerTls | None = None
        self.is_writer = True
        self.asked = 0

    def context(self) -> ssl.SSLContext:
        """What a new connection with TLS gets."""
        assert self.tls
        return self.tls.context

    async def who(self, sock: socket.socket) -> Caller:
        """A user with the rights that the test set; `asked` has how often this was asked."""
        assert sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        self.asked += 1
        return Caller("user root (0)" if self.is_writer else "user nobody (65534)", self.is_writer)


class FakeHostParameters:
    """A kernel that has every parameter but `tcp_tw_recycle`, and cannot write `nf_conntrack_max`; `values` has them by path."""

    interfaces = ("client0", "eth0.5")

    def __init__(self) -> None:
        self.values = {
            parameter.path_at(place): parameter.usual or tuple(number.low for number in parameter.numbers)
            for parameter in HOST_PARAMETERS.values()
            for place in self._places(parameter)
            if not parameter.until
        }
        self.error: Exception | None = None

    def _places(self, parameter: HostParameter) -> tuple[str, ...]:
        return (ALL, *self.interfaces) if parameter.per_interface else (ONLY,)

    async def read(self, parameter: HostParameter) -> HostReading:
        """The value that is there; raises the error, if the test set one."""
        if self.error:
            raise self.error
        paths = {place: parameter.path_at(place) for place in self._places(parameter)}
        values = {place: self.values[path] for place, path in paths.items() if path in self.values}
        if not values:
            return HostReading(parameter, values, "absent", "the kernel of the test does not have it")
        if parameter.name == "nf_conntrack_max":
            return HostReading(parameter, values, "read-only", "the test says so")
        return HostReading(parameter, values, "writable", "")

    async def read_all(self) -> list[HostReading]:
        """All of them."""
        return [await self.read(parameter) for parameter in HOST_PARAMETERS.values()]

    async def write(self, parameter: HostParameter, place: str, values: Values) -> HostReading:
        """Put it in force, after the checks of the director."""
        reading = await self.read(parameter)
        if reading.state != "writable":
            raise HostParameterError(f"{parameter.name}: cannot be written: {reading.reason}")
        places = [one for one in reading.values if one != ALL] if place == ONLY else [place]
        check_places(parameter, {**reading.values, **dict.fromkeys(places, values)})
        self.values |= {parameter.path_at(one): values for one in places}
        return await self.read(parameter)


class FakeTraces:
    """Batches that the test sets; behind them it waits while the test says so. `wanted` are the queries that came."""

    def __init__(self) -> None:
        self.batches: list[TraceBatch] = [TraceBatch([], 0, [])]
        self.wanted: list[Query] = []
        self.with_changes = False
        self.under_way = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def packets(self, wanted: Query, *, with_changes: bool = False) -> AsyncGenerator[TraceBatch, None]:
        """What the test set."""
        self.wanted.append(wanted)
        self.with_changes = with_changes
        self.under_way += 1
        try:
            for batch in self.batches:
                yield batch
            while not self.may_end.is_set():
                await asyncio.sleep(0)
                yield TraceBatch([], 0, [])
        finally:
            self.under_way -= 1


def remember(shared: SharedState, plan: ServicePlan, address: str, slot: int, now_ms: int, expires_ms: int) -> None:
    """Let a service remember a client at this address, whose real server has this slot."""
    table, bits = PersistenceTable(shared.persistence, b"secret"), plan.persistence_mask
    key = client_number(service_number(plan.protocol, plan.vip, plan.port, bits), IPv4Address(address).packed, bits)
    table.put(table.bucket(key), key, slot, now_ms + expires_ms, now_ms)


class FakeGateway:
    """A gateway with two shards and three real servers, and with the sessions that the test puts into it."""

    def __init__(self) -> None:
        self.shared = shared_state(shards=2, destinations=3)
        self.services: tuple[ServicePlan, ...] = SERVICES
        self.states = [ShardState(0, True, 100, 1), ShardState(1, True, 101, 1)]
        self.access = FakeAccess()
        self.duties = [DutyState("look at routes", 0, "")]
        self.sessions = FakeSessions()
        self.health = FakeHealth()
        self.access_control = FakeAccessControl()
        self.session_log = FakeSessionLog()
        self.attacks = attacks()
        self.configuration = FakeConfiguration(self.shared)
        self.drains, self.events = FakeDrains(), Events(lambda: 1_800_000_000.0)
        self.host_parameters = FakeHostParameters()
        self.traces = FakeTraces()
        self.problems: list[str] = []
        self.lane = LaneStats(LaneState("on", ""), 3, 4096, 2, list(range(len(LANE_COUNTERS))))
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.conntrack: dict[str, int] | None = None
        self.dropped_by_kernel: dict[str, int] = {}
        self.knows_kernel_drops = True
        self.findings: tuple[Finding, ...] = (FINDING,)

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force, after the check of its range and the check of both ends of the port range."""
        check_value(name, value)
        wanted = {key: self.shared.tunable(key) for key in ("fullnat_lport_min", "fullnat_lport_max")} | {name: value}
        if wanted["fullnat_lport_min"] > wanted["fullnat_lport_max"]:
            raise TunableError("fullnat_lport_min would be greater than fullnat_lport_max")
        self.shared.set_tunables({name: value})

    async def kernel_drops(self) -> dict[str, int]:
        """The value that the test set."""
        return self.dropped_by_kernel

    def kernel_drops_are_known(self) -> bool:
        """The value that the test set."""
        return self.knows_kernel_drops

    def shard_states(self) -> list[ShardState]:
        """The states the test set."""
        return self.states

    def duty_states(self) -> list[DutyState]:
        """The states the test set."""
        return self.duties

    def lane_state(self) -> LaneState:
        """The state the test set."""
        return self.lane.lane

    async def lane_stats(self) -> LaneStats:
        """The numbers the test set."""
        return self.lane

    async def lane_rings(self) -> list[ServiceRing]:
        """Something is prepared for one."""
        return [ServiceRing("web", 0, RingFigures(True, 2, "turns", 2, 2, 0, 40))]

    def host_problems(self) -> list[str]:
        """The problems the test set."""
        return self.problems

    def network_notes(self) -> list[str]:
        """The notes the test set."""
        return self.notes

    def missing_addresses(self) -> list[str]:
        """The addresses the test set."""
        return self.missing

    async def examine(self) -> Report:
        """A report with the findings that the test set."""
        worst = max((finding.severity for finding in self.findings), default=Severity.OK)
        return Report(worst, self.findings, ("clock_set",), {"samples": "the appliance has just started"}, True, 7.04)

    def rates(self) -> Rates:
        """Fixed rates, different for every field."""
        return Rates(((1.0, 10.04, 8.0, 5000.0, 40000.25), (2.0, 20.04, 16.0, 10000.0, 80000.5), (0.0,) * 5))

    def host_sockstat(self) -> dict[str, dict[str, int]]:
        """The figures of a host with hardly any sockets."""
        return {"sockets": {"used": 8}, "TCP": {"inuse": 1, "tw": 2}, "FRAG": {"inuse": 3, "memory": 4}}

    def host_conntrack(self) -> dict[str, int] | None:
        """The value that the test set."""
        return self.conntrack


class FakeSessions:
    """The batches of sessions, the counts and the tables that the test sets. `asked` has the arguments of the last request."""

    def __init__(self) -> None:
        self.batches: list[list[SessionRow]] = []
        self.batches_taken = 0
        self.listings_open = 0
        self.error: Exception | None = None
        self.asked: tuple[object, ...] = ()
        self.next_page = ""
        self.counts = Counter[str]()
        self.tables = [
            [Slab("tcp_conn", 3, 5, 560), Slab("udp_conn", 1, 1, 400)],
            [Slab("tcp_conn", 2, 2, 560), Slab("udp_conn", 0, 0, 400)],
        ]

    async def rows(self, wanted: SessionFilter) -> AsyncIterator[list[SessionRow]]:
        """The batches, one after the other; then the error is raised, if the test set one."""
        self.asked = (wanted,)
        self.listings_open += 1
        try:
            for batch in self.batches:
                self.batches_taken += 1
                yield batch
            self._fail()
        finally:
            self.listings_open -= 1

    async def page(self, wanted: SessionFilter, limit: int, after: str) -> Page:
        """The first batch; raises the error, if the test set one."""
        self.asked = (wanted, limit, after)
        self._fail()
        return Page(self.batches[0], self.next_page)

    async def tally(self, by: str, wanted: SessionFilter) -> Counter[str]:
        """The counts; raises the error, if the test set one."""
        self.asked = (by, wanted)
        self._fail()
        return self.counts

    async def cut(self, wanted: SessionFilter) -> int:
        """The number of sessions in all batches."""
        self.asked = (wanted,)
        return sum(map(len, self.batches))

    async def slabs(self) -> list[list[Slab]]:
        """The tables; raises the error, if the test set one."""
        self._fail()
        return self.tables

    async def consistency(self) -> list[Consistency]:
        """Of one shard; raises the error, if the test set one."""
        self._fail()
        held = {"192.0.2.101:8080": {"in_use": 3, "ready": 16, "young": 2, "resting": 5}}
        return [
            Consistency(
                held, 700, {"used": 26, "without_client": 4, "free": 998}, 20, 1, ["shard 0: entry 7 is neither held nor free"]
            )
        ]

    def _fail(self) -> None:
        if self.error:
            raise self.error
