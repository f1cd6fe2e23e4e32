"""What somebody who watches the gateway gets every second: the counters of one moment, as compact data. Pure.

Counters are totals: who has two samples knows the rates between them, by their `clock_s`. So a sample is the same for all who
watch, and nothing is remembered for any of them.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from appliance.attack.watch import AttackWatch
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import LaneState, ShardState
from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals
from appliance.model.counters import DESTINATION_FIELDS
from appliance.model.verdict import Action
from appliance.model.verdicts import VERDICTS
from appliance.views.attack import attacks
from appliance.views.document import Document, align
from appliance.views.services import heading, status_of

SERVICES_MAX = 20
"""Services in one window."""

REAL_SERVERS_MAX = 200
"""Real servers in one window, those of all its services together. Of one service alone, those above it are left out."""

SENTENCES_MAX = 20
"""Problems, and notes, in one sample."""

_DROPS = tuple(verdict for verdict in VERDICTS if verdict.action is not Action.REWRITTEN)
_SHOWN = ("conns", "active_conns", "inactive_conns", "in_packets", "out_packets", "in_bytes", "out_bytes")
_PLACES = tuple(DESTINATION_FIELDS.index(name) for name in _SHOWN)


class Window(NamedTuple):
    """Which services somebody watches."""

    match: str = ""
    """A part of their names; case does not matter. Empty for all of them."""
    offset: int = 0
    """How many of those that match stand before the first one, 0 or more."""


class Condition(NamedTuple):
    """How the gateway is at this moment."""

    shards: Sequence[ShardState]
    lane: LaneState
    problems: Sequence[str]
    """What is wrong on the host, a sentence each."""
    notes: Sequence[str]
    """What is wrong around the gateway, a sentence each."""
    services_down: int
    last_event: int
    """The number of the latest event."""


def gateway_sample(
    shared: SharedState, clock_s: float, condition: Condition, watch: AttackWatch, kernel_drops: Mapping[str, int]
) -> dict[str, Any]:
    """The whole gateway: traffic, open sessions, drops that are not zero, attacks under way, its condition.

    `clock_s` is the monotonic clock. `kernel_drops` are those of the defence in the kernel, by extended counter. `tunables` is a
    number that another write of a tunable changes.
    """
    under_way = attacks(watch.under_way.values(), ()).data["under_way"]
    return {
        "clock_s": round(clock_s, 3),
        "traffic": dict(zip(TRAFFIC_FIELDS, map(sum, zip(*totals(shared), strict=True)), strict=True)),
        "sessions": sum(shared.session_counts),
        "drops": _drops(shared),
        "kernel_drops": {name: number for name, number in kernel_drops.items() if number},
        "attacks": under_way,
        "attacks_ended": len(watch.ended),
        "last_attack_ended_s": watch.ended[-1].ended_wall_s if watch.ended else None,
        "tunables": shared.generation[0],
        **_condition(condition),
    }


def _drops(shared: SharedState) -> dict[str, int]:
    """The total of each reason that is not zero, as in `counters.drops`: of all shards and of the lane."""
    rows = [shared.table(row, "verdicts") for row in range(shared.shards + 1)]
    totals_by_name = ((verdict.name, sum(row[verdict.index] for row in rows)) for verdict in _DROPS)
    return {name: total for name, total in totals_by_name if total}


def _condition(condition: Condition) -> dict[str, Any]:
    down = sum(not shard.up for shard in condition.shards)
    return {
        "status": status_of(down, condition.problems),
        "shards": len(condition.shards),
        "shards_down": down,
        "lane": condition.lane.state,
        "problems": list(condition.problems[:SENTENCES_MAX]),
        "notes": list(condition.notes[:SENTENCES_MAX]),
        "services_down": condition.services_down,
        "last_event": condition.last_event,
    }


def services_sample(
    shared: SharedState, plans: Sequence[ServicePlan], down: Set[int], drained: Container[int], window: Window
) -> dict[str, Any]:
    """The services of one window: SERVICES_MAX, or fewer when these have more than REAL_SERVERS_MAX real servers together.

    `total` counts all services, `matching` those that match, and `next` is the offset of the window behind this one; None at the
    end. `left_out` of a service counts its real servers that are not shown. `down` and `drained` are slots.
    """
    found = _matching(plans, window.match)
    shown = list(_fitting(found[window.offset : window.offset + SERVICES_MAX]))
    behind = window.offset + len(shown)
    return {
        "total": len(plans),
        "matching": len(found),
        "offset": window.offset,
        "next": behind if shown and behind < len(found) else None,
        "services": [_service(shared, plan, down, drained) for plan in shown],
    }


def _matching(plans: Sequence[ServicePlan], match: str) -> Sequence[ServicePlan]:
    wanted = match.casefold()
    return [plan for plan in plans if wanted in plan.name.casefold()] if wanted else plans


def _fitting(plans: Iterable[ServicePlan]) -> Iterable[ServicePlan]:
    """The first of them, as long as there is room for their real servers; one at least."""
    room = REAL_SERVERS_MAX
    for place, plan in enumerate(plans):
        room -= len(plan.real_servers)
        if place and room < 0:
            return
        yield plan


def _service(shared: SharedState, plan: ServicePlan, down: Set[int], drained: Container[int]) -> dict[str, Any]:
    shown = plan.real_servers[:REAL_SERVERS_MAX]
    return {
        **heading(plan),
        "synproxy": plan.synproxy,
        "left_out": len(plan.real_servers) - len(shown),
        "real_servers": [_real_server(shared, server, down, drained) for server in shown],
    }


def _real_server(shared: SharedState, plan: RealServerPlan, down: Set[int], drained: Container[int]) -> dict[str, Any]:
    rows = [shared.destination(row, plan.slot) for row in range(shared.shards + 1)]
    return {
        "endpoint": f"{plan.address}:{plan.port}",
        "weight": plan.weight,
        "is_up": plan.slot not in down,
        "is_drained": plan.slot in drained,
        "is_backup": plan.backup,
        **{name: sum(row[place] for row in rows) for name, place in zip(_SHOWN, _PLACES, strict=True)},
    }


def as_event(kind: str, data: Mapping[str, Any]) -> bytes:
    """One event of a stream of server-sent events. JSON has no line break of its own, so nothing in it can end the event."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def sample(gateway: Mapping[str, Any], services: Mapping[str, Any]) -> Document:
    """One sample of both. The text has a line for each real server of the window, behind those of the gateway."""
    figures = {"status": gateway["status"], "sessions": gateway["sessions"], **gateway["traffic"]}
    lines = [
        (service["name"], server["endpoint"], str(server["weight"]), _word(server), str(server["active_conns"]))
        for service in services["services"]
        for server in service["real_servers"]
    ]
    text = align("<>", [(name, str(figure)) for name, figure in figures.items()])
    text += align("<<><>", [("service", "real server", "weight", "state", "active"), *lines])
    return Document(text, {"gateway": gateway, "services": services})


def _word(server: Mapping[str, Any]) -> str:
    return ("drained" if server["is_drained"] else "up") if server["is_up"] else "down"
