"""Virtual services and their real servers at run time, as one shard knows them."""

from array import array
from collections.abc import Callable, Sequence, Set
from functools import partial
from ipaddress import IPv4Address
from math import inf
from typing import Any, Generic, NamedTuple

from appliance.ipc.persistence_table import PersistenceTable, service_number
from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import USUAL_MTU, SharedState
from appliance.model.counters import ACTIVE_CONNS, DESTINATION_COUNTERS, DESTINATION_FIELDS, INACTIVE_CONNS, OPENING_CONNS
from appliance.policy import choice
from appliance.policy.candidates import DROP, LEAVE, candidates
from appliance.policy.schedulers.contract import Scheduler, Setup
from appliance.policy.schedulers.least_connections import OPEN, load_of
from appliance.policy.schedulers.maglev_table import MaglevTables
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.policy.schedulers.slow_start import SlowStart
from appliance.state.by_state import ByState, OldestFirst, OrderedT
from appliance.state.persistence import Persistence, Remembered
from appliance.wire.flow import pack_endpoint, split_endpoint

NEVER, ALWAYS, AUTO = "never", "always", "auto"
"""Whether a service's clients have to prove themselves with a SYN cookie."""

UNLISTED = 0xFFFF_FFFF
"""The slot of a real server that has no place in the shared counters: it is in no plan of this run, but some sessions still are
with it."""

LOOK_ELSEWHERE_S = 0.02
"""How often a service looks how many sessions other shards have, when its scheduler asks for that. They publish that as often, so
what is known of them is 0.04 s old at most."""


class ShardFacts(NamedTuple):
    """What a service has to know of its shard."""

    shard: int
    tables: MaglevTables
    conns_elsewhere: Callable[[int], tuple[int, int, int]]
    """By slot: see `SharedState.conns_elsewhere`."""
    remembered: Remembered

    @classmethod
    def of(cls, plan: Plan, shared: SharedState) -> "ShardFacts":
        """Those of the shard of a plan."""
        table = PersistenceTable(shared.persistence, bytes.fromhex(plan.isn_secret))
        remembered = Remembered(table, shared.locks, shared.table(plan.shard, "queue"))
        return cls(plan.shard, MaglevTables(), partial(shared.conns_elsewhere, plan.shard), remembered)


class RealServer:
    """One real server of one service, with its counters, laid out by `counters.DESTINATION_FIELDS`.

    The counters are a list, which costs half of what shared memory does, and are published from there.
    """

    __slots__ = (
        "_published", "counts", "endpoint", "is_backup", "is_candidate", "is_removed", "is_up", "lets_go", "load_elsewhere",
        "mtu", "next_local_address", "orders", "planned_weight", "slot", "slow_start", "slow_start_s", "weight",
    )  # fmt: skip

    def __init__(self, plan: RealServerPlan, published: memoryview, orders: tuple[OldestFirst[Any], ...]) -> None:
        """`orders` are those of its sessions, by the numbers of `by_state.ORDER_OF_STATE`; the first stays empty."""
        self.endpoint = pack_endpoint(IPv4Address(plan.address), plan.port)
        self.planned_weight = self.weight = plan.weight
        """The weight of the configuration, and the one that counts: 0 while the real server is drained."""
        self.slow_start_s = plan.slow_start_s
        self.slow_start: SlowStart | None = None
        """How far it has come since it came back; None when it has its whole share."""
        self.load_elsewhere = 0
        """Its load in all other shards, as it was known last; 0 as long as no scheduler asks for it."""
        self.slot = plan.slot
        self.is_removed = False
        """Whether it was removed from its service; sessions that it still has refer to it."""
        self.is_backup = plan.backup
        self.is_up = True
        """Whether its checks pass; without any, it counts as up."""
        self.is_candidate = False
        """Whether the scheduler may pick it."""
        self.lets_go = False
        """Whether the sessions that it has need a closer look: it was removed, or it is down and they are to leave it."""
        self.mtu = USUAL_MTU
        """The MTU of the route to it, in bytes."""
        self.orders = orders
        self._published = published
        self.counts: list[int] = published.tolist()
        self.next_local_address = 0
        """Local addresses are used in turn for each real server. One turn for all of them would keep step with the scheduler,
        and each real server would only ever see some of the local addresses."""
        # Counters go on from where an earlier worker of this shard left them; its sessions ended with it.
        self.counts[ACTIVE_CONNS] = self.counts[INACTIVE_CONNS] = self.counts[OPENING_CONNS] = 0
        self.publish()

    @property
    def takes_new(self) -> bool:
        """Whether it gets new sessions."""
        return self.is_candidate and self.weight > 0

    @property
    def sessions(self) -> int:
        """How many sessions it has in this shard."""
        return self.counts[ACTIVE_CONNS] + self.counts[INACTIVE_CONNS]

    @property
    def load(self) -> int:
        """What its sessions of all shards weigh together, see `least_connections`: those of this one at this moment."""
        counts = self.counts
        return self.load_elsewhere + OPEN * counts[ACTIVE_CONNS] + (OPEN - 1) * counts[OPENING_CONNS] + counts[INACTIVE_CONNS]

    def start_slowly(self, now: float) -> None:
        """Begin its slow start, if it has one: it takes new sessions again from now on."""
        self.slow_start = SlowStart(now, self.slow_start_s) if self.slow_start_s else None

    def take_place(self, slot: int, published: memoryview) -> None:
        """Count at this place from now on, for a real server that had none."""
        self.slot = slot
        self._published = published
        for place in DESTINATION_COUNTERS:
            self.counts[place] += published[place]
        self.publish()

    def publish(self) -> None:
        """Make the counters visible to the director."""
        self._published[:] = array("Q", self.counts)


class VirtualService(Generic[OrderedT]):
    """A VIP and port, the real servers behind it and the local addresses used towards them. `OrderedT` is its sessions' type."""

    __slots__ = (
        "_by_persistence", "_by_scheduler", "_counters", "_facts", "_look_at_s", "_quorum", "_scheduled_by",
        "_when_none_healthy", "all_real_servers", "by_state", "candidates", "choice", "cookies_until", "defer", "drops_new",
        "endpoint", "half_open", "is_engaged", "is_removed", "lane", "local_addresses", "mtu", "name", "on_down",
        "persistence", "protocol", "real_servers", "scheduler", "synproxy",
    )  # fmt: skip

    def __init__(
        self, plan: ServicePlan, counters: Callable[[int], memoryview], by_state: ByState[OrderedT], facts: ShardFacts
    ) -> None:
        """`counters` gives the shared counters of a real server by its slot; `by_state` is that of the whole shard."""
        self.name = plan.name
        self.protocol = plan.protocol
        self.endpoint = pack_endpoint(IPv4Address(plan.vip), plan.port)
        self.local_addresses = tuple(IPv4Address(address).packed for address in plan.local_addresses)
        self.real_servers: list[RealServer] = []
        self.candidates: tuple[RealServer, ...] = ()
        """The real servers that the scheduler may pick: another tuple whenever one comes or goes or has another weight."""
        self.choice = choice.UNKNOWN
        """How `pick_real_server` has chosen last, see `policy.choice`."""
        self._facts = facts
        self._look_at_s = -inf
        self._scheduled_by = plan.scheduler, plan.maglev_table
        self.scheduler = self._new_scheduler()
        self.persistence = self._persistence_of(plan)
        self.synproxy = plan.synproxy
        """NEVER, ALWAYS or AUTO."""
        self.defer = plan.synproxy_defer
        """This service's own value of the tunable synproxy_defer; None when the tunable counts."""
        self.lane = plan.lane
        """Whether the lane may carry its sessions."""
        self.half_open: OldestFirst[OrderedT] = OldestFirst()
        """Sessions whose handshake is under way, in this shard."""
        self.by_state = by_state
        self.is_engaged = False
        """Whether a service in AUTO answers SYNs with cookies at the moment."""
        self.mtu = USUAL_MTU
        """The least MTU of the routes to its real servers, in bytes: before one of them is picked, it has to fit each."""
        self.cookies_until = -inf
        """Until when a client may have a cookie of this service that is still good, in seconds of the monotonic clock."""
        self._counters = counters
        self.all_real_servers: list[RealServer] = []
        """Also those that were removed: their sessions are still counted, and one that comes back goes on with its counters."""
        self.drops_new = False
        """Whether new sessions are dropped without an answer, because no real server is healthy."""
        self.is_removed = False
        """Whether it is no service any more; its sessions are about to end."""
        self.change(plan, frozenset(), frozenset())
        for real_server in self.real_servers:  # with the first plan nobody has come back
            real_server.slow_start = None

    def change(self, plan: ServicePlan, down: Set[int], drained: Set[int]) -> bool:
        """Go by this plan from now on, in which the real servers in the slots `down` are down, and those in `drained` get no new
        sessions; True when some sessions have to be settled anew. Name, protocol and endpoint are those of the service."""
        changed = self._change_ways(plan)
        self._when_none_healthy, self._quorum, self.on_down = plan.when_none_healthy, plan.quorum, plan.on_down
        self._change_scheduler(plan)
        before = self._weights_of_candidates()
        changed |= self._change_real_servers(plan.real_servers)
        return self._choose(down, drained, before) or changed

    def _change_ways(self, plan: ServicePlan) -> bool:
        """Go by what this plan says of cookies, lane and local addresses; True when sessions there are have to be settled anew.

        Sessions keep their local address. What is kept by the pool (`orders`) stays with the first one: a port of another pool
        is given back then, and taken by nobody.
        """
        changed = plan.synproxy != self.synproxy or (self.lane and not plan.lane)
        self.synproxy, self.defer, self.lane = plan.synproxy, plan.synproxy_defer, plan.lane
        self.local_addresses = tuple(IPv4Address(address).packed for address in plan.local_addresses)
        return changed

    def remove(self) -> None:
        """It is no service any more: it gets no new session, and no session of it goes on."""
        self.is_removed = True
        self._change_real_servers(())
        self._choose(frozenset(), frozenset(), {})

    def change_standing(self, down: Set[int], drained: Set[int]) -> bool:
        """The real servers in the slots `down` are down from now on, and all others up; those in `drained` are drained, and no
        others. Returns as `change` does."""
        return self._choose(down, drained, self._weights_of_candidates())

    def _weights_of_candidates(self) -> dict[RealServer, int]:
        return {real_server: real_server.weight for real_server in self.candidates}

    def _choose(self, down: Set[int], drained: Set[int], before: dict[RealServer, int]) -> bool:
        """Find out who is a candidate. `before` are those that were, with their weights then: whoever gets sessions now and did
        not then starts slowly."""
        for real_server in self.real_servers:
            real_server.is_up = real_server.slot not in down
            real_server.weight = 0 if real_server.slot in drained else real_server.planned_weight
        chosen = candidates(self.real_servers, self._quorum, self._when_none_healthy)
        if [*before.items()] != [(real_server, real_server.weight) for real_server in chosen]:
            self.candidates = chosen
        self.drops_new = not chosen and self._when_none_healthy == DROP
        circumstance = choice.circumstance(self.real_servers, chosen, self._quorum)
        self._by_scheduler = choice.by_scheduler(self._scheduled_by[0], circumstance)
        self._by_persistence = choice.by_persistence(circumstance)
        for real_server in chosen:
            if real_server.weight and not before.get(real_server):
                real_server.start_slowly(self.by_state.now)
        return self._mark(set(chosen))

    def _mark(self, chosen: set[RealServer]) -> bool:
        may_leave, changed = self.protocol == "udp" or self.on_down != LEAVE, False
        for real_server in self.all_real_servers:
            real_server.is_candidate = real_server in chosen
            is_left = may_leave and not real_server.is_up and not real_server.is_candidate
            changed |= real_server.lets_go != (lets_go := real_server.is_removed or is_left)
            real_server.lets_go = lets_go
        return changed

    def _change_scheduler(self, plan: ServicePlan) -> None:
        """Pick by the scheduler of this plan from now on. The one there is goes on when nothing has changed."""
        wanted = plan.scheduler, plan.maglev_table
        if wanted != self._scheduled_by:
            self._scheduled_by = wanted
            self.scheduler = self._new_scheduler()
        self.persistence = self._persistence_of(plan)

    def _new_scheduler(self) -> Scheduler:
        name, places = self._scheduled_by
        return SCHEDULERS[name](Setup(self._facts.shard, self._facts.tables, places))

    def _persistence_of(self, plan: ServicePlan) -> Persistence[RealServer] | None:
        if not plan.persistence_s:
            return None
        number = service_number(plan.protocol, plan.vip, plan.port, plan.persistence_mask)
        return Persistence(self._facts.remembered, number, plan.persistence_s, plan.persistence_mask)

    def _change_real_servers(self, plans: Sequence[RealServerPlan]) -> bool:
        """Use these real servers, with these weights, from now on; True when one was removed or came back."""
        known = {real_server.endpoint: real_server for real_server in self.all_real_servers}
        self.real_servers = []
        for plan in plans:
            endpoint = pack_endpoint(IPv4Address(plan.address), plan.port)
            real_server = known.pop(endpoint, None) or RealServer(plan, self._counters(plan.slot), self._orders_at(endpoint))
            if real_server.slot != plan.slot:
                real_server.take_place(plan.slot, self._counters(plan.slot))
            real_server.slow_start_s = plan.slow_start_s
            real_server.planned_weight, real_server.is_backup = plan.weight, plan.backup
            self.real_servers.append(real_server)
        self.all_real_servers = [*self.real_servers, *known.values()]  # what is known and not wanted any more has departed
        changed = False
        for real_server in self.all_real_servers:
            is_removed = real_server.endpoint in known
            changed |= is_removed != real_server.is_removed
            real_server.is_removed = is_removed
            if is_removed:
                real_server.planned_weight = real_server.weight = 0
        return changed

    def real_server_of_adopted(self, endpoint: bytes) -> RealServer:
        """The real server at this endpoint; one that counts as removed when the plan has none there."""
        for real_server in self.all_real_servers:
            if real_server.endpoint == endpoint:
                return real_server
        address, port = split_endpoint(endpoint)
        plan = RealServerPlan(str(IPv4Address(address)), int.from_bytes(port, "big"), 0, UNLISTED)
        nowhere = memoryview(array("Q", bytes(8 * len(DESTINATION_FIELDS))))
        real_server = RealServer(plan, nowhere, self._orders_at(endpoint))
        real_server.is_removed = real_server.lets_go = True
        self.all_real_servers.append(real_server)
        return real_server

    def _orders_at(self, endpoint: bytes) -> tuple[OldestFirst[OrderedT], ...]:
        yielding = self.by_state.yielding(self.protocol, self.local_addresses, endpoint)
        return OldestFirst(), self.half_open, yielding

    @property
    def takes_new(self) -> bool:
        """Whether a new session could get a local address and a real server."""
        return bool(self.local_addresses) and any(real_server.weight for real_server in self.candidates)

    def pick_real_server(self, client_key: bytes, now: float) -> RealServer | None:
        """The real server of a new session of the client with this flow key; None when none takes new sessions."""
        if self.persistence is None:
            return self._schedule(client_key, now)
        self.choice = self._by_persistence
        return self.persistence.pick(self.candidates, client_key, now, lambda: self._schedule(client_key, now))

    def _schedule(self, client_key: bytes, now: float) -> RealServer | None:
        self.choice = self._by_scheduler
        if self.scheduler.needs_load and now >= self._look_at_s:
            self._look_at_s = now + LOOK_ELSEWHERE_S
            for real_server in self.candidates:
                real_server.load_elsewhere = load_of(*self._facts.conns_elsewhere(real_server.slot))
        return self.scheduler.pick(self.candidates, client_key, now)
