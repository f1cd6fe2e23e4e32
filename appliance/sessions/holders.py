"""Who may have an entry of the lane and the local endpoint that goes with it: each kind of holder is a line of HOLDERS.

Whoever gives entries to a kind of its own adds a line, and `sessions.consistency` looks at it as well.
"""

from collections.abc import Callable, Collection

from appliance.sessions.lifecycle import Sessions
from appliance.state.session import Session

HeldIn = Callable[[Sessions, Collection[int]], dict[int, Session]]
"""Those of some entries that it holds, each with its session, whose real server and local endpoint are known."""

IN_USE, READY, YOUNG, RESTING = "in_use", "ready", "young", "resting"


def _in_tables(sessions: Sessions, entries: Collection[int]) -> dict[int, Session]:
    owner = sessions.lane.entries.owner
    return {entry: session for entry in entries if (session := owner(entry)) is not None}


def _ready(sessions: Sessions, entries: Collection[int]) -> dict[int, Session]:
    tickets = (ticket for ring in sessions.prepared.rings for ticket in ring.tickets)
    ready = {ticket.entry: ticket.session for ticket in tickets if ticket.entry in entries}
    return ready | {entry: ticket.session for entry, ticket in sessions.prepared.short.spares.tickets.items() if entry in entries}


def _young(sessions: Sessions, entries: Collection[int]) -> dict[int, Session]:
    return {entry: ticket.session for entry, ticket in sessions.prepared.short.young_in(entries).items()}


def _resting(sessions: Sessions, entries: Collection[int]) -> dict[int, Session]:
    return {entry: ticket.session for entry, ticket in sessions.prepared.short.resting_in(entries).items()}


HOLDERS: dict[str, HeldIn] = {IN_USE: _in_tables, READY: _ready, YOUNG: _young, RESTING: _resting}
"""In the tables; prepared, as a ticket or a spare endpoint, and not known to be taken; opened by the kernel, and in no table yet;
over, and at rest."""


def held_outside_tables(sessions: Sessions) -> int:
    """How many local endpoints of TCP those have, all together, that are not in the tables."""
    prepared = sessions.prepared
    return prepared.ready + prepared.short.young + prepared.short.resting
