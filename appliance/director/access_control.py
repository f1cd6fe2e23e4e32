"""Who may open connections: what a reload changes of it, and what that means for sessions that are there."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from itertools import islice
from typing import NamedTuple, Protocol

from appliance.config.loading import Config
from appliance.director.access_lists import changes, narrowed, read_access
from appliance.director.access_table import AccessTable
from appliance.edge.errors import EdgeError
from appliance.ipc.queries import CLIENTS_MAX, SessionFilter
from appliance.policy.access_rules import AccessService

log = logging.getLogger("appliance.director")

COOKIE_LIFE_S = 240.0
"""For so long a client may have a SYN cookie (see `proxy.cookie`) that it got before it was denied."""

PAUSE_S = 30.0
"""Between two cuts meanwhile. Each looks at all sessions."""


class Sessions(Protocol):
    """Those of all shards, see `SessionQueries`."""

    async def tally(self, by: str, wanted: SessionFilter) -> Mapping[str, int]:
        """How many there are, by client."""

    async def cut(self, wanted: SessionFilter, clients: Sequence[str] = ()) -> int:
        """End those of some clients; how many there were."""


class Wanted(NamedTuple):
    """What a configuration wants."""

    services: tuple[AccessService, ...]
    """Those with lists or limits."""
    lines: tuple[str, ...]
    """A line for each list that has other addresses than the one in force."""


class AccessControl:
    """The lists and limits in force, and the sessions of clients that they do not admit any more.

    The kernel drops what would open a connection; nothing of a session that is there. So when lists change, the sessions of
    clients that are not admitted any more are cut: both ends are told. They are cut again until the last SYN cookie from
    before is too old to open one. Sets of the operator may change at any time, and are about new connections only.
    """

    def __init__(
        self,
        table: AccessTable,
        sessions: Sessions,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[Awaitable[object], float | None], Awaitable[object]] = asyncio.wait_for,
    ) -> None:
        self._table = table
        self._sessions = sessions
        self._now = now
        self._wait = wait
        self._changed = asyncio.Event()
        self._due: dict[str, float] = {}
        """By service: when the next cut is due, in seconds of the monotonic clock."""
        self._last: dict[str, float] = {}
        """By service: when the last cut is."""

    @property
    def services(self) -> Sequence[AccessService]:
        """Those with lists or limits, as they are in force."""
        return self._table.services

    @property
    def made_sets(self) -> frozenset[str]:
        """The sets of the operator that were not there."""
        return frozenset(self._table.made)

    async def read(self, config: Config) -> Wanted:
        """What `config` wants, with what stands in its files. Raises ConfigError."""
        services = await asyncio.to_thread(read_access, config)
        return Wanted(services, changes(self._table.services, services))

    @asynccontextmanager
    async def changed(self, wanted: Sequence[AccessService]) -> AsyncIterator[None]:
        """Put these services in force: for good, or only for the block when that raises.

        Raises EdgeError when the kernel refuses; then nothing has changed.
        """
        before = self._table.services
        await asyncio.to_thread(self._table.change, wanted)
        try:
            yield
        except BaseException:
            await asyncio.to_thread(self._table.change, before)
            raise
        now = self._now()
        for service in narrowed(before, wanted):
            self._due[service.name], self._last[service.name] = now, now + COOKIE_LIFE_S

    def cut_soon(self) -> None:
        """Cut what is due now, and do not wait for it."""
        self._changed.set()

    async def watch(self) -> None:
        """Cut sessions when it is time to, for ever."""
        while True:
            self._changed.clear()
            await self.cut_due()
            wait_s = min(self._due.values()) - self._now() if self._due else None
            try:
                await self._wait(self._changed.wait(), wait_s)
            except TimeoutError:
                continue

    async def cut_due(self) -> None:
        """Cut the sessions for which it is time. A service for which that fails stays due."""
        due = [name for name, at in self._due.items() if at <= self._now()]
        services = {service.name: service for service in self._table.services}
        for name in due:
            began = self._now()
            if name in services:
                await self._cut(services[name])
            if (last := self._last[name]) > began and name in services:
                self._due[name] = min(began + PAUSE_S, last)
            else:
                self._due.pop(name, None)

    async def not_admitted(self, wanted: Wanted) -> Mapping[str, int]:
        """By service, how many sessions are of clients that would not be admitted any more. Raises ShardDownError and
        ShardFailedError when a worker cannot answer."""
        changed = narrowed(self._table.services, wanted.services)
        return {service.name: sum((await self._unwanted(service)).values()) for service in changed}

    async def _unwanted(self, service: AccessService) -> dict[str, int]:
        """How many sessions each client has that a service does not admit."""
        clients = await self._sessions.tally("client", SessionFilter(service=service.name))
        return {client: number for client, number in clients.items() if not service.admits(int(IPv4Address(client)))}

    async def _cut(self, service: AccessService) -> None:
        of_service, cut = SessionFilter(service=service.name), 0
        for some in _batches(iter(await self._unwanted(service))):
            cut += await self._sessions.cut(of_service, some)
        if cut:
            log.info("service %s: sessions of clients that are not admitted any more cut: %d", service.name, cut)

    async def drops(self) -> Mapping[tuple[str, str], int]:
        """Packets dropped, by service and counter; empty when the kernel cannot be asked."""
        try:
            return await asyncio.to_thread(self._table.counts)
        except EdgeError as error:
            log.error("cannot read what access lists and rate limits have dropped: %s", error)
            return {}


def _batches(clients: Iterator[str]) -> Iterator[list[str]]:
    while some := list(islice(clients, CLIENTS_MAX)):
        yield some
