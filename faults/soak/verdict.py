"""What follows from a soak: everything that has piled up, in sentences. Pure."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from faults.records import ANSWERED, CORRUPTED
from faults.soak.samples import ProcessSample, Sample, Tables

WARM_UP_SHARE = 1 / 3
"""Of the run: memory grows at first, until every table has had its usual size."""

GROWTH_KIB, GROWTH_SHARE = 6_144, 0.05
"""What a process may grow by after that: what the allocator of the interpreter takes and gives by itself, or a share of all."""

MORE_DESCRIPTORS = 2
"""Than before the traffic. A connection of the API may still be closing."""

UNANSWERED_SHARE = 0.001
"""Of all connections or datagrams of a habit, so many may go without an answer: the machine also does other things."""

SENT = "sent"
NO_ANSWER = "no answer"


class Soak(NamedTuple):
    """A whole run: samples under traffic, one before and one when all was quiet again; what was left then; what clients saw."""

    before: Sample
    during: tuple[Sample, ...]
    after: Sample
    left: Tables
    rules_before: str
    rules_after: str
    outcomes: Mapping[str, Mapping[str, int]]
    corrupted_at_servers: int
    api_failures: tuple[str, ...]


def troubles(soak: Soak) -> Iterator[str]:
    """Everything that is wrong; nothing when all is well."""
    yield from of_processes(soak.before, soak.during, soak.after)
    if soak.left.sessions:
        yield f"{soak.left.sessions} sessions were left when all timeouts were over"
    if soak.left.ports:
        yield f"{soak.left.ports} local ports were left in use"
    if soak.left.lane:
        yield f"{soak.left.lane} entries were left in the kernel's table of sessions"
    if soak.rules_after != soak.rules_before:
        yield "the nft objects are not those of the start"
    if soak.corrupted_at_servers:
        yield f"real servers saw wrong bytes in {soak.corrupted_at_servers} connections"
    for habit, outcomes in soak.outcomes.items():
        yield from _of_habit(habit, outcomes)
    if not soak.outcomes:
        yield "there was no traffic"
    for failure in dict.fromkeys(soak.api_failures):
        yield f"the API failed: {failure}"


def of_processes(before: Sample, during: Sequence[Sample], after: Sample) -> Iterator[str]:
    """What is wrong with the processes themselves: replaced, too many descriptors, memory that grows."""
    for name, first in before.processes.items():
        last = after.processes[name]
        if last.pid != first.pid:
            yield f"{name} was replaced"
            continue
        if last.descriptors > first.descriptors + MORE_DESCRIPTORS:
            yield f"{name} has {last.descriptors} descriptors, {first.descriptors} before"
        observed = settled(during)
        growth = growth_kib(name, observed)
        if growth > allowed_kib(processes(name, observed)):
            yield f"{name} grew by {growth / 1024:.1f} MiB, {slope_kib_per_min(name, observed) / 1024:.2f} MiB a minute"


def _of_habit(habit: str, outcomes: Mapping[str, int]) -> Iterator[str]:
    bad = {how: count for how, count in outcomes.items() if how not in (ANSWERED, SENT, NO_ANSWER)}
    for how, count in bad.items():
        yield f"{habit}: {count} {'had wrong bytes' if how == CORRUPTED else how}"
    total, unanswered = sum(outcomes.values()), outcomes.get(NO_ANSWER, 0)
    if unanswered > max(1, total * UNANSWERED_SHARE):
        yield f"{habit}: {unanswered} of {total} without an answer"


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples after the warm-up."""
    return samples[int(len(samples) * WARM_UP_SHARE) :]


def processes(name: str, samples: Sequence[Sample]) -> list[ProcessSample]:
    """The samples of one process."""
    return [one.processes[name] for one in samples if name in one.processes]


def slope_kib_per_min(name: str, samples: Sequence[Sample]) -> float:
    """How fast the memory of a process grows: the median of the slopes between samples half of them apart, which single jumps do
    not move. 0 for less than two samples."""
    half = max(1, len(samples) // 2)
    pairs = zip(samples, samples[half:], strict=False)
    slopes = [
        (later.processes[name].rss_kib - one.processes[name].rss_kib) / (later.at - one.at)
        for one, later in pairs
        if later.at > one.at
    ]
    return 60 * statistics.median(slopes) if slopes else 0.0


def growth_kib(name: str, samples: Sequence[Sample]) -> float:
    """What that slope makes of the time of these samples."""
    return slope_kib_per_min(name, samples) * (samples[-1].at - samples[0].at) / 60 if samples else 0.0


def allowed_kib(samples: Sequence[ProcessSample]) -> float:
    """What a process with these samples may grow by."""
    return max(GROWTH_KIB, GROWTH_SHARE * max((one.rss_kib for one in samples), default=0))
