"""What follows from a run of many connections: everything that is wrong, in sentences. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from faults.connections.site import SERVICES, Turns
from faults.soak.samples import Sample
from faults.soak.verdict import of_processes

_ROUNDS = 2
"""Those of a shard, and those of the kernel for it."""

_MANY, _BY_KERNEL = 1_000_000, 0.95
"""Of so many connections, or more, the kernel opens this share at least. At first nothing is ready, so workers open some."""

COUNTED = ("conns", "active_conns", "inactive_conns")


class Look(NamedTuple):
    """What the gateway said of itself at one moment: `/stats/consistency`, and of `/stats/ip_vs` the figures of each real server
    by service and address (COUNTED)."""

    consistency: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Mapping[str, int]]]


class Run(NamedTuple):
    """A whole run. `looks` were taken under load, `after` when nothing was ready, young or half-open any more."""

    wanted: int
    answered: int
    reused: int
    """Connections that went on with the session of an older one of the same client, and so are no new sessions."""
    opened_by_kernel: int
    seconds: float
    troubles: tuple[str, ...]
    """Of wrk."""
    before: Sample
    during: tuple[Sample, ...]
    last: Sample
    looks: tuple[Look, ...]
    after: Look
    shards: int


def wrong(run: Run) -> Iterator[str]:
    """Everything that is wrong; nothing when all is well."""
    for trouble in dict.fromkeys(run.troubles):
        yield f"clients: {trouble}"
    conns = sum(counts["conns"] for service in run.after.figures.values() for counts in service.values())
    if run.answered < run.wanted:
        yield f"{run.answered:,} connections were answered of {run.wanted:,}"
    if conns + run.reused < run.answered:
        yield f"{conns:,} new sessions and {run.reused:,} that went on are counted, for {run.answered:,} connections"
    if run.answered >= _MANY and run.opened_by_kernel < _BY_KERNEL * run.answered:
        yield f"the kernel opened {run.opened_by_kernel:,} of {run.answered:,} connections, and workers the others"
    for service in SERVICES:
        yield from of_shares(service, {ip: counts["conns"] for ip, counts in run.after.figures[service.name].items()}, run.shards)
    for look in (*run.looks, run.after):
        yield from look.consistency["problems"]
    yield from of_quiet(run.after)
    yield from of_processes(run.before, run.during, run.last)


def of_shares(service: Turns, conns: Mapping[str, int], shards: int) -> Iterator[str]:
    """Where real servers have other shares than by their weights. Each shard picks in rounds of its own, and so does the kernel
    for it; each of them may be in the middle of a round, in which a real server gets as many as its weight says."""
    total, weights = sum(conns.values()), sum(service.weights.values())
    for address, weight in service.weights.items():
        exact = total * weight / weights
        if abs(conns[address] - exact) > _ROUNDS * shards * weight:
            yield f"{service.name}: {address} got {conns[address]:,} of {total:,} connections, and {exact:,.1f} is its share"


def of_quiet(look: Look) -> Iterator[str]:
    """Where figures differ from what is there, when nothing moves any more."""
    consistency, entries = look.consistency, look.consistency["entries"]
    if consistency["flows"] != 2 * entries["used"] - entries["without_client"]:
        without = f"{entries['without_client']} of them without a client"
        yield f"{consistency['flows']} flows are in the lane, and {entries['used']} entries are used, {without}"
    for endpoint, held in consistency["real_servers"].items():
        address, _, _ = endpoint.rpartition(":")
        figures = [service[address] for service in look.figures.values() if address in service]
        counted = sum(each["active_conns"] + each["inactive_conns"] for each in figures)
        sessions = sum(count for holder, count in held.items() if holder != "ready")
        if counted != sessions:
            yield f"{address} has {sessions} sessions, and {counted} are counted"
