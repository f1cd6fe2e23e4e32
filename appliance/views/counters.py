"""What the appliance knows, as tables: every view is one Document, the same numbers as text and as JSON. Pure.

Text is for eyes, `awk` and people who know `ipvsadm`: names left, numbers right, one header line, a column per shard and a
total. `views_conns` has those of sessions.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from appliance import __version__
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import ShardState
from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals
from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS, Counter
from appliance.model.rates import Rates
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import VERDICTS, Action


class Document(NamedTuple):
    """One view in both its forms. `data` is what `json` can write."""

    text: str
    data: Any


def align(layout: str, rows: Iterable[Sequence[str]]) -> str:
    """Lines of columns as wide as their widest cell; `layout` has ``<`` or ``>`` for each column, left or right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ((f"{cell:{side}{width}}" for side, width, cell in zip(layout, widths, row, strict=True)) for row in rows)
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in cells)


def sysctls(shared: SharedState) -> Document:
    """All tunables: the value in force beside its default, range, unit and meaning."""
    data = {name: _tunable(shared, name) for name in TUNABLES}
    head = ("name", "value", "default", "range", "unit", "summary")
    rows = (
        (name, str(row["value"]), str(row["default"]), f"{row['min']}..{row['max']}", row["unit"] or "-", row["summary"])
        for name, row in data.items()
    )
    return Document(align("<>><<<", (head, *rows)), data)


def sysctl(shared: SharedState, name: str) -> Document:
    """One tunable; as text only the value in force, as a script wants it."""
    row = _tunable(shared, name)
    return Document(f"{row['value']}\n", {"name": name} | row)


def ext_stats(shared: SharedState, kernel: Mapping[str, int]) -> Document:
    """The extended counters, exactly those and in their order. `kernel` has, by name, what the kernel adds to them."""
    data = {
        name: {"total": row["total"] + kernel.get(name, 0), "shards": row["shards"], "kernel": kernel.get(name, 0)}
        for name, row in _counters(shared, "ext", EXT_COUNTERS).data.items()
    }
    return Document(_per_shard_text("counter", data), data)


def ext_stat(shared: SharedState, kernel: Mapping[str, int], name: str) -> Document:
    """One extended counter; as text only its total."""
    row = ext_stats(shared, kernel).data[name]
    return Document(f"{row['total']}\n", {"name": name} | row)


def drops(shared: SharedState) -> Document:
    """How often each verdict was given that does not send a packet on rewritten: the reasons of all drops."""
    shown = {verdict.name for verdict in VERDICTS if verdict.action is not Action.REWRITTEN}
    return _counters(shared, "verdicts", VERDICT_COUNTERS, shown)


def queues(shared: SharedState) -> Document:
    """What befell the queues and workers themselves."""
    return _counters(shared, "queue", QUEUE_COUNTERS)


def traffic(shared: SharedState, rates: Rates) -> Document:
    """Connections, packets and bytes both ways since the start, and the same per second."""
    per_second = rates.shards or [[0.0] * len(TRAFFIC_FIELDS)] * shared.shards
    data = {
        "totals": _per_shard(TRAFFIC_FIELDS, totals(shared)),
        "per_second": _per_shard(TRAFFIC_FIELDS, [[round(rate, 1) for rate in row] for row in per_second]),
    }
    by_rate_name = {f"{name}/s": row for name, row in data["per_second"].items()}
    return Document(f"{_per_shard_text('counter', data['totals'])}\n{_per_shard_text('rate', by_rate_name)}", data)


def services(shared: SharedState, plans: Iterable[ServicePlan]) -> Document:
    """Services and their real servers, summed over the shards; the text is that of ``ipvsadm -ln``."""
    data = [_service(shared, plan) for plan in plans]
    lines = [
        f"IP Virtual Server version {__version__} (shards={shared.shards})",
        "Prot LocalAddress:Port Scheduler Flags",
        f"  -> {'RemoteAddress:Port':<28} Forward Weight ActiveConn InActConn",
    ]
    for service in data:
        lines.append(f"{service['protocol']:<4} {service['vip']}:{service['port']} {service['scheduler']}")
        lines += (
            f"  -> {row['address'] + ':' + str(row['port']):<28} {row['forward']:<7} {row['weight']:<6} "
            f"{row['active_conns']:<10} {row['inactive_conns']:<10}".rstrip()
            for row in service["real_servers"]
        )
    return Document("".join(f"{line}\n" for line in lines), {"version": __version__, "services": data})


def health(states: Sequence[ShardState]) -> Document:
    """``ok``, or a line for each shard that is down."""
    down = [state for state in states if not state.up]
    text = "".join(f"shard{state.shard} is down (started {state.starts} times)\n" for state in down)
    data = {"status": "down" if down else "ok", "shards": [state._asdict() for state in states]}
    return Document(text or "ok\n", data)


def index(routes: Sequence[tuple[str, str, str]]) -> Document:
    """What there is to ask for: path, methods and summary of each route."""
    head = ("path", "methods", "summary")
    return Document(align("<<<", (head, *routes)), [dict(zip(head, route, strict=True)) for route in routes])


def to_json(data: Any) -> str:
    """One line of JSON."""
    return f"{json.dumps(data)}\n"


def _tunable(shared: SharedState, name: str) -> dict[str, Any]:
    row = TUNABLES[name]._asdict()
    del row["name"]
    return {"value": shared.tunable(name)} | row


def _counters(shared: SharedState, table: str, counters: Sequence[Counter], shown: Iterable[str] | None = None) -> Document:
    names = [counter.name for counter in counters]
    data = _per_shard(names, [shared.table(shard, table).tolist() for shard in range(shared.shards)])
    if shown is not None:
        data = {name: row for name, row in data.items() if name in shown}
    return Document(_per_shard_text("counter", data), data)


def _per_shard(names: Sequence[str], shards: Iterable[Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Each name with its number in every shard and their sum; integers stay integers."""
    columns = zip(*shards, strict=True)
    return {name: {"total": round(sum(cells), 1), "shards": list(cells)} for name, cells in zip(names, columns, strict=True)}


def _per_shard_text(title: str, data: dict[str, dict[str, Any]]) -> str:
    """A column for each shard, one for the kernel where it has a part, and the total."""
    shards = max((len(row["shards"]) for row in data.values()), default=0)
    more = [column for column in ("kernel", "total") if all(column in row for row in data.values())]
    head = (title, *(f"shard{shard}" for shard in range(shards)), *more)
    rows = ((name, *map(str, row["shards"]), *(str(row[column]) for column in more)) for name, row in data.items())
    return align("<" + ">" * (len(head) - 1), (head, *rows))


def _service(shared: SharedState, plan: ServicePlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "protocol": plan.protocol.upper(),
        "vip": plan.vip,
        "port": plan.port,
        "scheduler": plan.scheduler,
        "local_addresses": list(plan.local_addresses),
        "real_servers": [_real_server(shared, real_server) for real_server in plan.real_servers],
    }


def _real_server(shared: SharedState, plan: RealServerPlan) -> dict[str, Any]:
    columns = zip(*(shared.destination(shard, plan.slot) for shard in range(shared.shards)), strict=True)
    counts = dict(zip(DESTINATION_FIELDS, map(sum, columns), strict=True))
    return {"address": plan.address, "port": plan.port, "forward": "FullNat", "weight": plan.weight} | counts
