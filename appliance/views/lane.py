"""The lane: how much of the traffic of sessions it carries, how full it is, and why packets went up to a worker. Pure."""

from collections.abc import Iterable

from appliance.ipc.rows import LaneStats, ServiceRing
from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals
from appliance.model.counters import SESSIONS_SHORT, TICKETS_RETURNED
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.views.document import Document, align

_PACKETS = tuple(TRAFFIC_FIELDS.index(field) for field in ("in_packets", "out_packets"))
_BYTES = tuple(TRAFFIC_FIELDS.index(field) for field in ("in_bytes", "out_bytes"))


def lane(shared: SharedState, stats: LaneStats, rings: Iterable[ServiceRing] = ()) -> Document:
    """The share that is carried comes first: in percent of all packets of sessions, since the start of the counters."""
    *shards, carried = totals(shared)
    by_lane, by_workers = _traffic([carried]), _traffic(shards)
    packets = by_lane["packets"] + by_workers["packets"]
    share = round(100 * by_lane["packets"] / packets, 2) if packets else 0.0
    data = {
        "share_percent": share,
        "state": stats.lane.state,
        "reason": stats.lane.reason,
        "lane": by_lane,
        "workers": by_workers,
        "entries": {"used": stats.entries_used, "free": stats.entries - stats.entries_used, "total": stats.entries},
        "admissions_off": stats.lane.admissions_off,
        "prepared": {
            "ready": stats.tickets,
            "returned": _counted(shared, TICKETS_RETURNED),
            "young": sum(shared.short_lived[: shared.shards]),
            "resting": sum(shared.short_lived[shared.shards : 2 * shared.shards]),
            "spare": sum(shared.short_lived[2 * shared.shards :]),
            "short": _counted(shared, SESSIONS_SHORT),
        },
        "services": [{"service": name, "shard": shard, **ring._asdict()} for name, shard, ring in rings],
        "repairs": stats.lane.repairs,
        "counters": {counter.name: count for counter, count in zip(LANE_COUNTERS, stats.counts, strict=False)},
    }
    return Document(_text(data), data)


def _counted(shared: SharedState, counter: int) -> int:
    return sum(shared.table(shard, "queue")[counter] for shard in range(shared.shards))


def _traffic(rows: list[list[int]]) -> dict[str, int]:
    return {
        name: sum(row[place] for row in rows for place in places) for name, places in (("packets", _PACKETS), ("bytes", _BYTES))
    }


def _text(data: dict[str, object]) -> str:
    head = f"carried: {data['share_percent']} % of the packets of sessions\n"
    reason = f" ({data['reason']})" if data["reason"] else ""
    entries, counters, prepared = data["entries"], data["counters"], data["prepared"]
    assert isinstance(prepared, dict)
    assert isinstance(entries, dict)
    assert isinstance(counters, dict)
    head += f"lane: {data['state']}{reason}, repaired {data['repairs']} times\n"
    head += f"entries: {entries['used']} used, {entries['free']} free\n"
    off = f"off ({data['admissions_off']}), " if data["admissions_off"] else ""
    head += f"prepared admissions: {off}{prepared['ready']} ready, {prepared['spare']} spare, {prepared['returned']} taken back\n"
    head += f"short-lived sessions: {prepared['young']} young, {prepared['resting']} resting, {prepared['short']} so far\n\n"
    ways = [("", "packets", "bytes")]
    for way in ("lane", "workers"):
        traffic = data[way]
        assert isinstance(traffic, dict)
        ways.append((way, str(traffic["packets"]), str(traffic["bytes"])))
    rows = [("counter", "packets"), *((name, str(count)) for name, count in counters.items())]
    return head + align("<>>", ways) + _services(data["services"]) + ("\n" + align("<>", rows) if counters else "")


def _services(rows: object) -> str:
    assert isinstance(rows, list)
    names = ("service", "shard", "way", "places", "pools", "empty_pools", "in_line", "ready")
    cells = [tuple(str(row[name]) or "-" for name in names) for row in rows]
    head = tuple(name.replace("_", " ") for name in names)
    return "\n" + align("<><>>>>>", (head, *cells)) if rows else ""
