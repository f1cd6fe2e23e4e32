"""Drains and events as text and as JSON. Pure."""

import json
from datetime import UTC, datetime

from appliance.ipc.rows import DrainState, Event, EventsSince
from appliance.views.document import Document, align


def drain(state: DrainState) -> Document:
    """How far the drain of a real server has come, in one line."""
    return Document(f"{drain_line(state)}\n", state._asdict())


def drain_line(state: DrainState) -> str:
    """The same as one line of text."""
    name, count = f"{state.service} {state.real_server}", f"{state.sessions} session{'' if state.sessions == 1 else 's'}"
    note = f"; {state.note}" if state.note else ""
    if not state.draining:
        return f"{name} is not drained: {count}"
    if state.gone:
        return f"{name} is drained: its last session is gone{note}"
    until = (
        ""
        if state.deadline_s is None
        else f", which are ended in {state.deadline_s:.0f} s"
        if state.deadline_s
        else ", which end now"
    )
    return f"{name} is drained: {count} left{until}{note}"


def events(since: EventsSince) -> Document:
    """A head line, and one for each event."""
    rows = ((str(event.number), _time(event), event.kind, event.service, event.real_server, event.text) for event in since.events)
    lines = [("number", "time", "kind", "service", "real server", "text"), *rows]
    missing = "events before these are known no more\n" if since.are_missing else ""
    data = {"events": [event._asdict() for event in since.events], "last": since.last, "missing": since.are_missing}
    return Document(missing + align("><<<<<", lines), data)


def as_stream(since: EventsSince) -> bytes:
    """The same as server-sent events (WHATWG HTML, 9.2): each has its number as `id` and its kind as `event`; one of the kind
    ``missing`` says that some are known no more."""
    lost = ["event: missing\ndata: {}\n\n"] if since.are_missing else []
    return "".join([*lost, *map(_sent, since.events)]).encode()


def _sent(event: Event) -> str:
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(event._asdict())}\n\n"


def _time(event: Event) -> str:
    return datetime.fromtimestamp(event.at_s, UTC).isoformat(timespec="milliseconds")
