"""Services, VIPs and local addresses that come and go while traffic flows: what is told to whom, and in which order.

What is new is known to all shards before the kernel brings them its packets, and the kernel takes it before an address attracts
any. What goes is forgotten by the shards first, which reset its sessions; then the kernel does not take its packets any more, and
its addresses go. So there are two steps: the first one only adds, and whatever fails in it is taken back everywhere; the second
one only removes, and nobody can refuse it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config
from appliance.director import workers
from appliance.director.host import Host
from appliance.director.plans import Slots
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import ShardFailedError

log = logging.getLogger("appliance.director")

SETTLE_S = 10.0
"""How long a change waits until the sessions of removed services have ended. Then their packets are not taken any more; those
that are left are reset all the same."""

Services = tuple[ServicePlan, ...]


class Live:
    """How the services of a run change."""

    def __init__(
        self,
        host: Host,
        shards: Sequence[ShardProcess],
        slots: Slots,
        running: Callable[[], Services],
        know: Callable[[Services], Awaitable[None]],
        allow: Callable[[], None],
    ) -> None:
        """`running` gives the services in force. `know` has the director go by others, and comes before the shards are told; what
        the lane may carry only then, `allow` allows when they are."""
        self._host, self._shards, self._slots = host, shards, slots
        self._running, self._know, self._allow = running, know, allow
        self._host_stays = False
        """Whether the kernel takes the same packets before and after the change."""

    @contextlib.asynccontextmanager
    async def prepared(self, config: Config, wanted: Config, services: Services) -> AsyncIterator[None]:
        """Have everybody go by `services`, those of `wanted`, and also by what goes; `config` is in force. What fails here or in
        the block is taken back everywhere.

        Raises EdgeError or ReloadRefusedError when somebody refuses.
        """
        before = self._running()
        self._host_stays = _is_steered_alike(before, services)
        if services == before and wanted.local_addresses == config.local_addresses:
            yield
            return
        try:
            if new := _only_in(services, before):
                await self._tell((*before, *new))
            if not self._host_stays:
                await asyncio.to_thread(self._host.extend, wanted)
            await self._tell(_with_what_goes(before, services))
            yield
        except BaseException:
            await self._take_back(config, before)
            raise

    async def put(self, config: Config, services: Services) -> None:
        """Go by `services`, those of `config`, alone; everything is prepared. Returns when the sessions of others have ended."""
        if services != self._running():
            await self._know(services)
            await workers.tell([shard.change_services(services) for shard in self._shards])
            await workers.tell([shard.settled(SETTLE_S) for shard in self._shards])
        await self._shrink(config)

    async def _tell(self, services: Services) -> None:
        if services == self._running():
            return
        await self._know(services)
        try:
            for outcome in await asyncio.gather(
                *(shard.change_services(services) for shard in self._shards), return_exceptions=True
            ):
                if outcome is not None:
                    raise outcome
        except ShardFailedError as error:
            raise ReloadRefusedError(f"the services cannot be changed: {error}") from error

    async def _take_back(self, config: Config, before: Services) -> None:
        if self._running() != before:
            await self._know(before)
            await workers.tell([shard.change_services(before) for shard in self._shards])
            self._allow()
        await self._shrink(config)

    async def _shrink(self, config: Config) -> None:
        if self._host_stays:
            return
        try:
            await asyncio.to_thread(self._host.shrink, config, self._slots.removed(config))
        except EdgeError as error:
            log.error("what is not needed any more stays on the host until it can be removed: %s", error)


def _is_steered_alike(services: Services, others: Services) -> bool:
    """Whether the kernel has to know the same of both."""
    return len(services) == len(others) and all(
        one is other or _steering_of(one) == _steering_of(other) for one, other in zip(services, others, strict=True)
    )


def _steering_of(plan: ServicePlan) -> tuple[object, ...]:
    return plan.key, plan.name, plan.local_addresses, [(server.address, server.port) for server in plan.real_servers]


def _only_in(services: Services, others: Services) -> Services:
    """Those whose endpoint is none of the others'."""
    there = {plan.key for plan in others}
    return tuple(plan for plan in services if plan.key not in there)


def _with_what_goes(before: Services, after: Services) -> Services:
    """The services of `after`, with those and the local addresses that only `before` has. One that takes the place of another is
    not there yet."""
    old = {plan.key: plan for plan in before}
    return (*(_both(old.get(plan.key), plan) for plan in after), *_only_in(before, after))


def _both(old: ServicePlan | None, new: ServicePlan) -> ServicePlan:
    if old is None:
        return new
    if old.name != new.name:
        return old
    if set(old.local_addresses) <= set(new.local_addresses):
        return new  # this very one: whoever compares services finds at once that it has not changed
    return replace(new, local_addresses=tuple(dict.fromkeys((*new.local_addresses, *old.local_addresses))))
