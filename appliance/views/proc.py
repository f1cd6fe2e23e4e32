"""The tables that hold sessions, in the form of files that Linux has under `/proc`: slabinfo, sockstat, conntrack. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from appliance.ipc.rows import Slab
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import HALF_OPEN_DROPPED, STATE_FIELDS
from appliance.model.verdicts import TABLE_FULL
from appliance.views.document import Document, align

PAGE_BYTES = 4096
"""Size of a memory page, as the kernel counts `mem` and slabs."""

_CONNTRACK_ROWS = ("count", "max", "buckets", "drop", "early_drop", "insert_failed")


class _Merged(NamedTuple):
    """One table or pool, summed over all shards."""

    active: int
    total: int
    object_bytes: int
    """The average over the shards, weighted by their objects."""

    @property
    def pages(self) -> int:
        return -(-self.total * self.object_bytes // PAGE_BYTES)


def _merged(shards: Iterable[Sequence[Slab]]) -> dict[str, _Merged]:
    """The tables and pools of all shards, by name."""
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
    """Each table and pool, summed over all shards, with the columns of `/proc/slabinfo`."""
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
    """The lines of `/proc/net/sockstat`: first for the sessions of the appliance, then for the sockets of the host.

    `mem` is in pages and `bytes` is the same amount in bytes. An orphan is a session whose real server was removed. Each of
    the `workers` that are up has one raw socket. The kernel reassembles fragments for the appliance too, so the numbers of
    FRAG are the host's in both parts.
    """
    gauges = _by_state(shared)
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


def _by_state(shared: SharedState) -> dict[str, int]:
    """The gauges of STATE_FIELDS, summed over all shards."""
    columns = zip(*(shared.table(shard, "states") for shard in range(shared.shards)), strict=True)
    return dict(zip(STATE_FIELDS, map(sum, columns), strict=True))


def conntrack(shared: SharedState, host: Mapping[str, int] | None) -> Document:
    """The table of sessions beside the host's connection tracking, with the words of conntrack.

    `host` is None when the host does not track connections.
    """
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
