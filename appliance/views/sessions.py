"""Sessions, and the tables that hold them, as people and programs see them. Pure; see `views` for what a Document is."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from heapq import nsmallest
from itertools import chain
from typing import Any, NamedTuple

from appliance.ipc.rows import SessionRow, Slab
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import HALF_OPEN_DROPPED, STATE_FIELDS
from appliance.model.verdicts import TABLE_FULL
from appliance.views.counters import Document, align

PAGE_BYTES = 4096

TEXT_HEAD = (
    "IPVS connection entries\n"
    f"pro expire {'state':<11} {'source':<21} {'virtual':<21} {'local':<21} destination\n"
)  # fmt: skip


def session_text(row: SessionRow) -> str:
    """One session as a line of ``ipvsadm -lnc``, the local address before the destination."""
    minutes, seconds = divmod(int(row.expires_s), 60)
    return (
        f"{row.protocol:<3} {minutes:02}:{seconds:02}  {row.state:<11} "
        f"{row.client:<21} {row.vip:<21} {row.local:<21} {row.real_server}\n"
    )


def session_data(row: SessionRow) -> dict[str, Any]:
    """One session for JSON, with the columns' names of the text; `expires_s` keeps the milliseconds."""
    return {
        "protocol": row.protocol,
        "expires_s": round(row.expires_s, 3),
        "state": row.state,
        "source": row.client,
        "virtual": row.vip,
        "local": row.local,
        "destination": row.real_server,
        "service": row.service,
    }


def page(rows: Sequence[SessionRow]) -> Document:
    """Some sessions, in the form of them all."""
    return Document(TEXT_HEAD + "".join(map(session_text, rows)), [session_data(row) for row in rows])


async def as_text(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    """All sessions, piece by piece."""
    yield TEXT_HEAD
    async for batch in batches:
        yield "".join(map(session_text, batch))


async def as_json(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    """One JSON list, a session a line; it is closed only when every session is in it."""
    before = "[\n"
    async for batch in batches:
        if batch:
            yield before + ",\n".join(json.dumps(session_data(row)) for row in batch)
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def top(by: str, counts: Counter[str], number: int) -> Document:
    """Who has most sessions, most first, as ``sort | uniq -c | sort -nr | head`` shows it; those with as many by name."""
    first = nsmallest(number, counts.items(), key=lambda item: (-item[1], item[0]))
    text = align("><", [("conns", by), *((str(count), name) for name, count in first)])
    data = {
        "by": by,
        "conns": counts.total(),
        "different": len(counts),
        "top": [{by: name, "conns": count} for name, count in first],
    }
    return Document(text, data)


class _Merged(NamedTuple):
    """One slab of all shards."""

    active: int
    total: int
    object_bytes: int
    """The average."""

    @property
    def pages(self) -> int:
        return -(-self.total * self.object_bytes // PAGE_BYTES)


def _merged(shards: Iterable[Sequence[Slab]]) -> dict[str, _Merged]:
    """The slabs of all shards, by name."""
    by_name: dict[str, list[Slab]] = {}
    for slab in chain.from_iterable(shards):
        by_name.setdefault(slab.name, []).append(slab)
    return {name: _sum_of(parts) for name, parts in by_name.items()}


def _sum_of(parts: Sequence[Slab]) -> _Merged:
    total = sum(slab.total for slab in parts)
    weights = [slab.total or 1 for slab in parts]
    average = round(sum(slab.object_bytes * weight for slab, weight in zip(parts, weights, strict=True)) / sum(weights))
    return _Merged(sum(slab.active for slab in parts), total, average)


def slabinfo(shards: Sequence[Sequence[Slab]]) -> Document:
    """Each table and pool, all shards together, with the columns of `/proc/slabinfo`."""
    data: dict[str, dict[str, Any]] = {}
    for name, merged in _merged(shards).items():
        data[name] = {
            "active_objs": merged.active,
            "num_objs": merged.total,
            "objsize": merged.object_bytes,
            "objperpage": PAGE_BYTES // (merged.object_bytes or 1),
            "pages": merged.pages,
        }
    head = ("name", "active_objs", "num_objs", "objsize", "objperpage", "pages")
    rows = ((name, *map(str, row.values())) for name, row in data.items())
    return Document(align("<>>>>>", (head, *rows)), data)


def sockstat(
    shared: SharedState, slabs: Sequence[Sequence[Slab]], workers: int, host: Mapping[str, Mapping[str, int]]
) -> Document:
    """The lines of `/proc/net/sockstat`: for the gateway's sessions, then the host's own. `mem` is in pages, `bytes` the same.

    An orphan is a session whose real server was removed. `workers` have a raw socket each. Fragments are put together by the
    kernel, for the gateway as for all others, so those are the host's.
    """
    gauges = by_state(shared)
    merged = _merged(slabs)
    tcp, udp = merged["tcp_conn"], merged["udp_conn"]
    all_tcp = sum(gauges.values()) - gauges["udp"] - gauges["orphan"]
    ours = {
        "sockets": {"used": all_tcp + gauges["udp"]},
        "TCP": {
            "inuse": all_tcp - gauges["time_wait"] - gauges["close"],
            "orphan": gauges["orphan"],
            "tw": gauges["time_wait"],
            "alloc": all_tcp,
            "mem": tcp.pages,
            "bytes": tcp.total * tcp.object_bytes,
        },
        "UDP": {"inuse": gauges["udp"], "mem": udp.pages, "bytes": udp.total * udp.object_bytes},
        "RAW": {"inuse": workers},
        "FRAG": dict(host.get("FRAG", {})),
    }
    data = {"appliance": ours, "host": {kind: dict(numbers) for kind, numbers in host.items()}}
    return Document("\n".join(f"{owner}\n{_sockstat_text(kinds)}" for owner, kinds in data.items()), data)


def _sockstat_text(kinds: Mapping[str, Mapping[str, int]]) -> str:
    lines = (f"{kind}: " + " ".join(f"{name} {number}" for name, number in numbers.items()) for kind, numbers in kinds.items())
    return "".join(f"{line}\n" for line in lines)


def by_state(shared: SharedState) -> dict[str, int]:
    """POPULATION_FIELDS, all shards together."""
    columns = zip(*(shared.table(shard, "states") for shard in range(shared.shards)), strict=True)
    return dict(zip(STATE_FIELDS, map(sum, columns), strict=True))


_CONNTRACK_ROWS = ("count", "max", "buckets", "drop", "early_drop", "insert_failed")


def conntrack(shared: SharedState, host: Mapping[str, int] | None) -> Document:
    """The table of sessions beside the host's own connection tracking, in the words of the latter; `host` is None without one."""
    verdicts, queues = (
        [shared.table(shard, table) for shard in range(shared.shards)] for table in ("verdicts", "queue")
    )  # fmt: skip
    ours = {
        "count": sum(shared.session_counts),
        "max": shared.tunable("conn_max"),
        "drop": sum(counts[TABLE_FULL.index] for counts in verdicts),
        "early_drop": sum(counts[HALF_OPEN_DROPPED] for counts in queues),
    }
    columns: dict[str, Mapping[str, int] | None] = {"appliance": ours, "host": host}
    rows = ((name, *(str((column or {}).get(name, "-")) for column in columns.values())) for name in _CONNTRACK_ROWS)
    note = "" if host is not None else "this host does not track connections\n"
    return Document(align("<>>", (("", *columns), *rows)) + note, columns)
