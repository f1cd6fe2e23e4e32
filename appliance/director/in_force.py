"""What shards go by, and when that changes, for captures: a replay needs to know it.

Nothing is kept while nobody listens. A listener gets the whole at its beginning, and then what is different. Whoever changes
something says so when it is in force: packets that come while a change is made may be judged either way.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple, Protocol

from appliance.config.in_force import tables_of
from appliance.config.loading import Config
from appliance.ipc.in_force import DOWN, DRAINED, ENDED
from appliance.ipc.queries import Query
from appliance.ipc.shared_layout import SharedState
from appliance.ipc.traced import Change
from appliance.model.tunables import TUNABLES

WAITING_MAX = 100
"""Changes that wait for one listener. Those above are left out, but for what they have left in force."""

Slots = Mapping[tuple[str, str, int], int]


class _State(NamedTuple):
    """What is in force, as it was at a moment."""

    config: Config
    tunables: tuple[int, ...]
    slots: Slots
    down: frozenset[int]
    drained: frozenset[int]

    def whole(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        tables = tables_of(self.config, dict(zip(TUNABLES, self.tunables, strict=True)))
        return tables | {DOWN: self._targets(self.down), DRAINED: self._targets(self.drained)}

    def _targets(self, slots: frozenset[int]) -> list[list[Any]]:
        return [[*target] for target, slot in self.slots.items() if slot in slots]


class Listener:
    """The changes for one trace."""

    def __init__(self, clients: str, state: _State) -> None:
        """`clients` are those of the trace, as in a `SessionFilter`."""
        self._clients = _network(clients)
        self._waiting: list[tuple[float, _State | Query]] = [(time.monotonic(), state)]
        self._told: dict[str, Any] = {}

    def add(self, what: _State | Query) -> None:
        """Something has changed at this moment. Of what is too much, only the latest state is kept."""
        if len(self._waiting) > WAITING_MAX:
            if isinstance(what, Query):
                return
            del self._waiting[WAITING_MAX:]
        self._waiting.append((time.monotonic(), what))

    async def take(self, before_s: float) -> list[Change]:
        """Those from before a moment of the monotonic clock, with times of that clock. The first one is what was in force."""
        ready = [one for one in self._waiting if one[0] < before_s]
        self._waiting = self._waiting[len(ready) :]
        changes = [Change(at_s, await self._news(what)) for at_s, what in ready]
        return [change for change in changes if change.what]

    async def _news(self, what: _State | Query) -> dict[str, Any]:
        if isinstance(what, Query):
            return self._ended(what)
        whole = await asyncio.to_thread(what.whole)  # with thousands of services it takes a while
        before, self._told = self._told, whole
        return {key: value for key, value in whole.items() if before.get(key) != value}

    def _ended(self, query: Query) -> dict[str, Any]:
        """What is told of sessions that were ended: nothing of other clients, whom the file is not about."""
        of_these = [client for client in query.clients if IPv4Address(client) in self._clients]
        is_of_others = query.filter.client and not _network(query.filter.client).overlaps(self._clients)
        if is_of_others or (query.clients and not of_these):
            return {}
        return {ENDED: {**query.filter._asdict(), "clients": of_these}}


def _network(text: str) -> IPv4Network:
    """That of an endpoint."""
    return IPv4Network(text.partition(":")[0])


class Run(Protocol):
    """The run whose state it is; the director is one."""

    shared: SharedState

    @property
    def health(self) -> "Health":
        """Who is down."""

    @property
    def drains(self) -> "Drained":
        """Who is drained."""


class Health(Protocol):
    """What is asked of health."""

    @property
    def down(self) -> Collection[int]:
        """The slots of the real servers that are down."""


class Drained(Protocol):
    """What is asked of drains."""

    @property
    def slots(self) -> Collection[int]:
        """The slots of the real servers that are drained."""


class InForce:
    """What is in force in a run."""

    def __init__(self, run: Run, config: Callable[[], Config], slots: Callable[[], Slots]) -> None:
        """`slots` gives the slot of each real server."""
        self._run, self._config, self._slots = run, config, slots
        self._listeners: list[Listener] = []

    def _read(self) -> _State:
        run = self._run
        tunables = tuple(map(run.shared.tunable, TUNABLES))
        return _State(self._config(), tunables, self._slots(), frozenset(run.health.down), frozenset(run.drains.slots))

    def listen(self, clients: str) -> Listener:
        """Hear of changes from now on; of sessions that are ended, only when they may be of these clients."""
        listener = Listener(clients, self._read())
        self._listeners.append(listener)
        return listener

    def leave(self, listener: Listener | None) -> None:
        """Hear of them no more."""
        self._listeners = [one for one in self._listeners if one is not listener]

    def changed(self) -> None:
        """Something else is in force from now on."""
        if self._listeners:
            state = self._read()
            for listener in self._listeners:
                listener.add(state)

    def ended(self, query: Query) -> None:
        """The sessions that a query of the kind CUT selects have ended now, all of them."""
        for listener in self._listeners:
            listener.add(query)
