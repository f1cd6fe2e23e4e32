"""Virtual services and their real servers at run time, as one shard knows them."""

from array import array
from collections import deque
from collections.abc import Callable, Sequence, Set
from ipaddress import IPv4Address
from math import inf
from typing import Generic

from appliance.ipc.persistence_table import service_number
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import USUAL_MTU
from appliance.model.counters import (
    DESTINATION_FIELDS,
)
from appliance.model.syn_offer import modes_with_cookies
from appliance.policy import choice
from appliance.policy.candidates import DROP, LEAVE, candidates
from appliance.policy.schedulers.contract import Scheduler, Setup
from appliance.policy.schedulers.least_connections import WeightedLeastConnections, load_of
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.policy.schedulers.round_robin import round_length
from appliance.state.by_state import ByState, OldestFirst, OrderedT
from appliance.state.client_limit import ClientLimit
from appliance.state.latch import Latch
from appliance.state.limits import Limits
from appliance.state.persistence import Persistence
from appliance.state.real_server import UNLISTED, RealServer
from appliance.state.shard_facts import ShardFacts
from appliance.wire.flow import pack_endpoint, split_endpoint

NEVER, ALWAYS, AUTO = "never", "always", "auto"
"""Whether a service's clients have to prove themselves with a SYN cookie."""

LOOK_ELSEWHERE_S = 0.02
"""How often a service looks how many sessions other shards have, when its scheduler asks for that. They publish that as often, so
what is known of them is 0.04 s old at most."""


class VirtualService(Generic[OrderedT]):
    """A VIP and port, the real servers behind it and the local addresses used towards them. `OrderedT` is its sessions' type."""

    __slots__ = (
        "_by_persistence", "_by_scheduler", "_counters", "_facts", "_look_at_s", "_quorum", "_scheduled_by",
        "_when_none_healthy", "all_real_servers", "by_state", "candidates", "choice", "client_counts", "client_limit",
        "cookies_until", "defer", "drops_new", "endpoint", "half_open", "is_engaged", "is_removed", "lane", "latch",
        "limits", "local_addresses", "mtu", "name", "on_down", "owed", "persistence", "protocol", "real_servers", "scheduler",
        "synproxy",
    )  # fmt: skip

    def __init__(
        self, plan: ServicePlan, counters: Callable[[int], memoryview], by_state: ByState[OrderedT], facts: ShardFacts
    ) -> None:
        """`counters` gives the shared counters of a real server by its slot; `by_state` is that of the whole shard."""
        self.name, self.protocol = plan.name, plan.protocol
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
        """Whether a service in AUTO answers SYNs with cookies at the moment; with its latch the kernel does so for the shard."""
        self.latch: Latch | None = None
        self.mtu = USUAL_MTU
        """The least MTU of the routes to its real servers, in bytes: before one of them is picked, it has to fit each."""
        self.cookies_until = -inf
        """Until when a client may have a cookie of this service that is still good, in seconds of the monotonic clock."""
        self._counters = counters
        self.all_real_servers: list[RealServer] = []
        """Also those that were removed: their sessions are still counted, and one that comes back goes on with its counters."""
        self.drops_new = False
        """Whether new sessions are dropped without an answer, because no real server is healthy."""
        self.limits: Limits | None = None
        self.owed: deque[RealServer] = deque()
        """Real servers whose turn it was for a session that came to nothing: they are the next ones."""
        self.client_counts = facts.clients
        """How many sessions each client has, of all services of the shard."""
        self.client_limit: ClientLimit | None = None
        """How many each of its own may have; None for as many as there is room for."""
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
        self.limits = Limits.of(plan, self._facts.open_elsewhere)
        changed |= self._change_client_limit(plan)
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

    def read_mtus(self, mtu: Callable[[int], int]) -> None:
        """Take over the MTUs of the routes to the real servers. `mtu` gives that of a slot, in bytes."""
        for real_server in self.all_real_servers:
            if real_server.slot != UNLISTED:
                real_server.mtu = mtu(real_server.slot)
        self.mtu = min((real_server.mtu for real_server in self.real_servers), default=USUAL_MTU)

    def _change_client_limit(self, plan: ServicePlan) -> bool:
        """Go by the limit for each client of this plan; True when sessions there are have to be counted anew."""
        before = self.client_limit
        self.client_limit = ClientLimit(plan, self.client_counts) if plan.max_conn_per_client else None
        return (before and before.counts_by) != (self.client_limit and self.client_limit.counts_by)

    def remove(self) -> None:
        """It is no service any more: it gets no new session, and no session of it goes on."""
        self.is_removed = True
        self._change_real_servers(())
        self._choose(frozenset(), frozenset(), {})

    def change_standing(self, down: Set[int], drained: Set[int]) -> bool:
        """The real servers in the slots `down` are down from now on, and all others up; those in `drained` are drained, and no
        others. Returns as `change` does."""
        return self._choose(down, drained, self._weights_of_candidates())

    def expect_cookies(self, until: float) -> None:
        """A client may have a cookie until this time, in seconds of the monotonic clock: for the kernel as well."""
        self.cookies_until = until
        if self.latch is not None:
            self.latch.expect_cookies(until)

    def always_answers(self, syncookies: int) -> bool:
        """Whether each SYN is answered with a cookie, at this value of tcp_syncookies."""
        return self.synproxy in modes_with_cookies(syncookies)

    def backlog(self, usual: int) -> int:
        """From how many half-open sessions on clients have to prove themselves; `usual` are those of the tunable."""
        return usual if self.limits is None else self.limits.backlog(usual, self.candidates)

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
            self.owed.clear()
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
            self.owed.clear()
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
            real_server.slow_start_s, real_server.max_conn = plan.slow_start_s, plan.max_conn
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

    def is_steady(self, now: float) -> bool:
        """Whether no real server is in its slow start, in which its share changes from moment to moment. That makes no difference
        to clients that are remembered."""
        return self.persistence is not None or not any(
            other.slow_start and other.slow_start.share(now) < 1 for other in self.candidates
        )

    def turns(self, most: int, now: float) -> list[RealServer]:
        """The real servers of one round of new sessions, by turns, as a scheduler picks them that has just begun. Empty when it
        does not go by turns alone, or when a round has more than so many turns. No real server may be in its slow start."""
        scheduler = self._new_scheduler()
        number = round_length(scheduler, self.candidates)
        picked = [scheduler.pick(self.candidates, b"", now) for _ in range(number if number <= most else 0)]
        return [real_server for real_server in picked if real_server is not None]

    @property
    def needs_client(self) -> bool:
        """Whether nobody can say where the next session goes without its client."""
        return self.persistence is not None or self.scheduler.needs_client

    @property
    def usual_choice(self) -> int:
        """How the kernel chooses, see `policy.choice`."""
        return self._by_scheduler if self.persistence is None else self._by_persistence

    def pick_real_server(self, client_key: bytes, now: float) -> RealServer | None:
        """The real server of a new session of the client with this flow key; None when none takes new sessions."""
        if self.persistence is None:
            return self._schedule(client_key, now)
        self.choice = self._by_persistence
        picked = self.persistence.pick(self.candidates, client_key, now, lambda: self._schedule(client_key, now))
        return picked if picked is None or not picked.max_conn else self._with_room(picked, client_key)

    def _schedule(self, client_key: bytes, now: float) -> RealServer | None:
        self.choice = self._by_scheduler
        if self.owed:
            picked: RealServer | None = self.owed.popleft()
        else:
            if self.scheduler.needs_load:
                self._look_elsewhere(now)
            picked = self.scheduler.pick(self.candidates, client_key, now)
        return picked if picked is None or not picked.max_conn else self._with_room(picked, client_key)

    def _look_elsewhere(self, now: float) -> None:
        if now >= self._look_at_s:
            self._look_at_s = now + LOOK_ELSEWHERE_S
            for real_server in self.candidates:
                real_server.load_elsewhere = load_of(*self._facts.conns_elsewhere(real_server.slot))

    def take_back_pick(self, real_server: RealServer) -> None:
        """The session came to nothing for which this one was picked last, or next to those that were taken back before it. It is
        the next one to be picked, unless the load decides that anew."""
        if not self.scheduler.needs_load:
            self.owed.appendleft(real_server)

    def is_outdated(self, now: float) -> bool:
        """Whether half of the sessions that are ready for a real server would be picked for another one now, by the load."""
        scheduler = self.scheduler
        if not isinstance(scheduler, WeightedLeastConnections):
            return False
        self._look_elsewhere(now)
        return scheduler.is_outdated(self.candidates)

    def _with_room(self, picked: RealServer, client_key: bytes) -> RealServer | None:
        other = picked if self.limits is None else self.limits.with_room(picked, self.candidates, client_key)
        if other is not picked:
            self.choice = self._by_scheduler
        return other
