"""What a configuration would change, and what has to be looked up for that: the files of its lists, the sessions there are."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from typing import Protocol

from appliance.config.loading import Config
from appliance.config.planned import ENDED, CountSessions, planned
from appliance.director.access_control import Wanted
from appliance.ipc.queries import LOCAL_ADDRESS, SessionFilter, ShardDownError, ShardFailedError
from appliance.ipc.rows import ChangePlan, PlannedChange

NOT_COUNTED = "; how many sessions that ends is not known while a worker is away"


class Access(Protocol):
    """The access lists and limits in force, see `AccessControl`."""

    async def read(self, config: Config) -> Wanted:
        """What a configuration wants. Raises ConfigError."""

    async def not_admitted(self, wanted: Wanted) -> Mapping[str, int]:
        """By service: the sessions of clients that it would not admit any more. Raises as `Sessions.tally`."""


class Sessions(Protocol):
    """The sessions of all shards."""

    async def tally(self, by: str, wanted: SessionFilter) -> Mapping[str, int]:
        """How many each has, see `SessionQueries.tally`. Raises ShardDownError and ShardFailedError."""


class ChangePlans:
    """Answers what configurations would change."""

    def __init__(self, access: Access, sessions: Sessions, counts: Callable[[], CountSessions]) -> None:
        self._access, self._sessions, self._counts = access, sessions, counts

    async def plan(self, running: Config, wanted: Config) -> ChangePlan:
        """What `wanted` would change. Raises ConfigError when a file that it names cannot be used."""
        access = await self._access.read(wanted)
        plan = await asyncio.to_thread(planned, running, wanted, self._counts())
        if plan.needs_restart:
            return plan
        lists = [PlannedChange(line, "", 0) for line in access.lines]
        more = [*await self._of_clients(access), *await self._of_addresses(running, wanted)]
        return ChangePlan([*plan.changes, *lists, *more], [])

    async def _of_clients(self, access: Wanted) -> list[PlannedChange]:
        """What becomes of the sessions of clients that lists do not admit any more."""
        counts = await _unless_away(self._access.not_admitted(access))
        if counts is None:
            return [PlannedChange(f"clients that access lists do not admit any more{NOT_COUNTED}", "", 0)]
        words = "clients that its lists do not admit any more"
        return [PlannedChange(f"service {name}: {words}", ENDED, number) for name, number in counts.items() if number]

    async def _of_addresses(self, running: Config, wanted: Config) -> list[PlannedChange]:
        """What becomes of the sessions on local addresses that no service has any more."""
        lost = {address: f"local address {address} is of no service any more" for address in _lost(running, wanted)}
        counts = await _unless_away(self._sessions.tally(LOCAL_ADDRESS, SessionFilter())) if lost else {}
        if counts is None:
            return [PlannedChange(words + NOT_COUNTED, "", 0) for words in lost.values()]
        return [PlannedChange(words, ENDED, counts.get(str(address), 0)) for address, words in lost.items()]


async def _unless_away(asked: Awaitable[Mapping[str, int]]) -> Mapping[str, int] | None:
    """What shards answer; None when one of them cannot."""
    try:
        return await asked
    except (ShardDownError, ShardFailedError):
        return None


def _lost(running: Config, wanted: Config) -> list[IPv4Address]:
    """The local addresses that services have, and would not have any more, see `ServiceChanges`."""
    return sorted(_of_services(running) - _of_services(wanted))


def _of_services(config: Config) -> frozenset[IPv4Address]:
    return frozenset(address for service in config.services for address in config.local_addresses[service.local_addresses])
