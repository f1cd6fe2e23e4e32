"""A real server of a service at run time, as one shard knows it: its weight, its state, its counters."""

from array import array
from ipaddress import IPv4Address
from typing import Any

from appliance.ipc.plan import RealServerPlan
from appliance.ipc.shared_layout import USUAL_MTU
from appliance.model.counters import (
    ACTIVE_CONNS,
    DESTINATION_COUNTERS,
    INACTIVE_CONNS,
    OPEN_CONNS,
    OPENING_CONNS,
    OVER_CONNS,
)
from appliance.policy.schedulers.least_connections import OPEN
from appliance.policy.schedulers.slow_start import SlowStart
from appliance.state.by_state import OldestFirst
from appliance.wire.flow import pack_endpoint

UNLISTED = 0xFFFF_FFFF
"""The slot of a real server that has no place in the shared counters: it is in no plan of this run, but some sessions still are
with it."""


class RealServer:
    """One real server of one service, with its counters, laid out by `counters.DESTINATION_FIELDS`.

    The counters are a list, which costs half of what shared memory does, and are published from there.
    """

    __slots__ = (
        "_published", "counts", "endpoint", "is_backup", "is_candidate", "is_removed", "is_up", "lets_go", "load_elsewhere",
        "max_conn", "mtu", "next_local_address", "orders", "planned_weight", "ready", "slot", "slow_start", "slow_start_s",
        "weight",
    )  # fmt: skip

    def __init__(self, plan: RealServerPlan, published: memoryview, orders: tuple[OldestFirst[Any], ...]) -> None:
        """`orders` are those of its sessions, by the numbers of `by_state.ORDER_OF_STATE`; the first stays empty."""
        self.endpoint = pack_endpoint(IPv4Address(plan.address), plan.port)
        self.planned_weight = self.weight = plan.weight
        """The weight of the configuration, and the one that counts: 0 while the real server is drained."""
        self.max_conn = plan.max_conn
        """How many sessions it may have; 0 for as many as come."""
        self.slow_start_s = plan.slow_start_s
        self.slow_start: SlowStart | None = None
        """How far it has come since it came back; None when it has its whole share."""
        self.load_elsewhere = 0
        """Its load in all other shards, as it was known last; 0 as long as no scheduler asks for it."""
        self.ready = 0
        """How many sessions are ready for it in this shard, whose clients have not come yet (`sessions.prepared`)."""
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
        self.counts[OVER_CONNS] = 0
        self.publish()

    @property
    def takes_new(self) -> bool:
        """Whether it gets new sessions."""
        return self.is_candidate and self.weight > 0

    @property
    def sessions(self) -> int:
        """How many sessions it has in this shard."""
        return self.counts[ACTIVE_CONNS] + self.counts[INACTIVE_CONNS] + self.counts[OVER_CONNS]

    @property
    def open_here(self) -> int:
        """How many of these are not over."""
        return self.counts[ACTIVE_CONNS] + self.counts[INACTIVE_CONNS]

    @property
    def load(self) -> int:
        """What its sessions of all shards weigh together, see `least_connections`: those of this one at this moment, with those
        that are ready."""
        counts = self.counts
        inactive = counts[INACTIVE_CONNS] + counts[OVER_CONNS]
        return self.load_elsewhere + OPEN * (counts[ACTIVE_CONNS] + self.ready) + (OPEN - 1) * counts[OPENING_CONNS] + inactive

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
        """Make the counters visible to the director, and to other shards."""
        published = array("Q", self.counts)
        published[INACTIVE_CONNS] += published[OVER_CONNS]
        published[OPEN_CONNS] = self.open_here
        self._published[:] = published

    def publish_open(self) -> None:
        """Make it visible at once that one more session was opened, for a real server whose number of sessions has a limit."""
        self._published[OPEN_CONNS] = self.open_here
