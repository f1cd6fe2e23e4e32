"""Views of the counters, with one column per shard, one for the lane where it counts as well, and one for the total. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS, Counter
from appliance.model.rates import Rates
from appliance.model.verdict import Action
from appliance.model.verdicts import VERDICTS
from appliance.views.document import Document, align


def ext_stats(shared: SharedState, kernel: Mapping[str, int]) -> Document:
    """The extended counters in the order of EXT_COUNTERS. `kernel` has what the kernel counted itself, by counter name."""
    data = {
        name: {**row, "total": row["total"] + kernel.get(name, 0), "kernel": kernel.get(name, 0)}
        for name, row in _counters(shared, "ext", EXT_COUNTERS).data.items()
    }
    return Document(_per_shard_text("counter", data), data)


def ext_stat(shared: SharedState, kernel: Mapping[str, int], name: str) -> Document:
    """One extended counter; the text is its total alone, for scripts."""
    row = ext_stats(shared, kernel).data[name]
    return Document(f"{row['total']}\n", {"name": name} | row)


def drops(shared: SharedState) -> Document:
    """How many packets got each verdict, without the verdicts that rewrite a packet and send it on: the reasons of all drops."""
    shown = {verdict.name for verdict in VERDICTS if verdict.action is not Action.REWRITTEN}
    return _counters(shared, "verdicts", VERDICT_COUNTERS, shown)


def queues(shared: SharedState) -> Document:
    """The counters of queues, workers and session ends (QUEUE_COUNTERS)."""
    counts = [shared.table(shard, "queue").tolist() for shard in range(shared.shards)]
    data = {name: {"total": sum(cells), "shards": cells} for name, cells in _columns(_names(QUEUE_COUNTERS), counts)}
    return Document(_per_shard_text("counter", data), data)


def traffic(shared: SharedState, rates: Rates) -> Document:
    """Sessions, packets and bytes in both directions: their totals since the start, and their rates per second."""
    per_second = rates.shards or [[0.0] * len(TRAFFIC_FIELDS)] * (shared.shards + 1)
    data = {
        "totals": _per_shard(TRAFFIC_FIELDS, totals(shared)),
        "per_second": _per_shard(TRAFFIC_FIELDS, [[round(rate, 1) for rate in row] for row in per_second]),
    }
    by_rate_name = {f"{name}/s": row for name, row in data["per_second"].items()}
    return Document(f"{_per_shard_text('counter', data['totals'])}\n{_per_shard_text('rate', by_rate_name)}", data)


def _counters(shared: SharedState, table: str, counters: Sequence[Counter], shown: Iterable[str] | None = None) -> Document:
    data = _per_shard(_names(counters), [shared.table(row, table).tolist() for row in range(shared.shards + 1)])
    if shown is not None:
        data = {name: row for name, row in data.items() if name in shown}
    return Document(_per_shard_text("counter", data), data)


def _names(counters: Sequence[Counter]) -> list[str]:
    return [counter.name for counter in counters]


def _columns(names: Sequence[str], rows: Iterable[Sequence[float]]) -> Iterator[tuple[str, list[float]]]:
    """For each name, its number in every row."""
    return ((name, list(cells)) for name, cells in zip(names, zip(*rows, strict=True), strict=True))


def _per_shard(names: Sequence[str], rows: Iterable[Sequence[float]]) -> dict[str, dict[str, Any]]:
    """For each name, its number in every shard, in the lane, which has the last row, and their sum; integers stay integers."""
    return {
        name: {"total": round(sum(cells), 1), "shards": cells[:-1], "lane": cells[-1]} for name, cells in _columns(names, rows)
    }


def _per_shard_text(title: str, data: dict[str, dict[str, Any]]) -> str:
    """The table as text: one column per shard, one for the lane and one for the kernel if every row has it, and the total."""
    shards = max((len(row["shards"]) for row in data.values()), default=0)
    more = [column for column in ("lane", "kernel", "total") if all(column in row for row in data.values())]
    head = (title, *(f"shard{shard}" for shard in range(shards)), *more)
    rows = ((name, *map(str, row["shards"]), *(str(row[column]) for column in more)) for name, row in data.items())
    return align("<" + ">" * (len(head) - 1), (head, *rows))
