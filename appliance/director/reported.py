"""What the director tells the API and the doctor of the gateway at this moment: facts that change nothing."""

import asyncio
import logging
from collections.abc import Sequence

from appliance.director import watches, workers
from appliance.director.duties import Duties
from appliance.director.health import Health
from appliance.director.host import Host
from appliance.director.lane import Lane
from appliance.director.network import Network
from appliance.director.plans import Slots
from appliance.director.steps import or_none
from appliance.director.supervisor import ShardProcess
from appliance.director.watchdog import Watchdog
from appliance.edge import conntrack, sockstat
from appliance.ipc.rows import DutyState, LaneState, LaneStats, ServiceRing, ShardState
from appliance.ipc.shared_layout import SharedState
from appliance.model.rates import Rates

log = logging.getLogger("appliance.director")


class Reported:
    """The part of a director that answers questions. The other part makes what is asked here."""

    health: Health
    shared: SharedState
    _counts: watches.Counts
    _duties: Duties
    _host: Host
    _kernel_drops: watches.KernelDrops
    _lane: Lane
    _network: Network
    _slots: Slots
    _watchdog: Watchdog
    _workers: Sequence[ShardProcess]

    async def kernel_drops(self) -> dict[str, int]:
        """Packets the kernel dropped for the defence, by extended counter: a moment ago, or at the last look that succeeded."""
        return await self._kernel_drops.look()

    def kernel_drops_are_known(self) -> bool:
        """Whether the last look at what the kernel has dropped did not fail."""
        return self._kernel_drops.are_known

    async def _count_lane(self) -> list[int] | None:
        return await asyncio.to_thread(self._lane.count, self.shared, self._slots.taken.values())

    def lane_state(self) -> LaneState:
        """How the lane goes."""
        return self._lane.state

    async def lane_stats(self) -> LaneStats:
        """What the lane has counted, at this moment; without its counters when the kernel cannot be asked."""
        counts = await or_none(self._count_lane(), "cannot read what the lane has counted")
        return LaneStats(self._lane.state, *await asyncio.to_thread(self._lane.entries), counts or [])

    async def lane_rings(self) -> list[ServiceRing]:
        """What is prepared for each service in each shard, where something is."""
        return await asyncio.to_thread(self._lane.rings)

    def host_sockstat(self) -> dict[str, dict[str, int]]:
        """The host's own sockets and fragments; empty when the kernel cannot be asked."""
        return sockstat.read_or_nothing()

    def host_conntrack(self) -> dict[str, int] | None:
        """The host's own connection tracking; None while the host tracks nothing."""
        return conntrack.read()

    def shard_states(self) -> list[ShardState]:
        """The state of each worker, in the order of shards."""
        return workers.states(self._workers, self.shared, self._watchdog)

    def duty_states(self) -> list[DutyState]:
        """How each duty of the director goes."""
        return self._duties.states()

    def host_problems(self) -> list[str]:
        """What is wrong on the host at this moment and keeps traffic from flowing as it should: a sentence each."""
        return [*self._host.problems.values(), *self._network.problems]

    def network_notes(self) -> list[str]:
        """What is wrong around the gateway and stops some traffic at most: a sentence each."""
        return [*self._network.notes, *self.health.notes]

    def missing_addresses(self) -> Sequence[str]:
        """VIPs and local addresses that no interface has although another program is to add them."""
        return self._host.missing_addresses

    def rates(self) -> Rates:
        """Events per second, smoothed, in the order of `shared_layout.TRAFFIC_FIELDS`."""
        return self._counts.meter.rates
