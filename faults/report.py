"""Outcomes as text, as JSON and as a table of the manual. Pure."""

from collections.abc import Sequence
from typing import Any

from bench.rig.machine import Machine
from bench.rig.tables import aligned
from faults.figures import Exchanges, Figures, sum_of
from faults.matrix import Outcome

HEADS = ("what breaks", "what clients saw", "sessions lost", "longest gap", "new ones back", "sessions back", "promise")
_LEFT = {0, 1, 2, 6}
_NOTHING = "nothing"


def row_of(outcome: Outcome) -> tuple[str, ...]:
    """The cells of one row."""
    title, seen = outcome.row.title, outcome.figures
    if seen is None:
        how = "could not be tried" if outcome.is_error else "not applicable"
        return (title, f"{how}: {outcome.why_not}", "-", "-", "-", "-", "not kept" if outcome.is_error else "-")
    is_any_left = seen.losses < seen.streams
    return (
        title,
        _saw(seen),
        _lost(seen),
        f"{seen.longest_gap_s:.1f} s" if is_any_left else "-",
        _new_back(seen),
        f"{seen.established_back_s:.1f} s" if is_any_left else "-",
        "not kept" if outcome.broken else "kept",
    )


def _saw(seen: Figures) -> str:
    kinds = (
        ("connections", seen.connections),
        ("datagrams", seen.datagrams),
        ("datagrams of a held socket", seen.held_datagrams),
    )
    said = [_failed(title, some) for title, some in kinds if some.failures]
    if seen.connections.slow:
        said.append(f"late connections: {seen.connections.slow}")
    if seen.corrupted:
        said.insert(0, f"{seen.corrupted} with wrong bytes")
    return "; ".join(said) or _NOTHING


def _failed(title: str, some: Exchanges) -> str:
    return f"{some.failures} of {some.begun} {title} failed ({sum_of(some.failed)})"


def _lost(seen: Figures) -> str:
    if not seen.losses:
        return f"0 of {seen.streams}"
    told = f", told within {seen.told_s:.1f} s" if seen.told_s else ""
    return f"{seen.losses} of {seen.streams} ({sum_of(seen.lost)}{told})"


def _new_back(seen: Figures) -> str:
    times = (seen.connections.back_s, seen.datagrams.back_s)
    if None in times:
        return "not"
    return f"{max(time for time in times if time is not None):.1f} s"


def as_text(outcomes: Sequence[Outcome], machine: Machine, *, lane: bool) -> str:
    """The table and what was not kept, for people."""
    tried = sum(outcome.figures is not None for outcome in outcomes)
    said = [f"  {outcome.row.title}: {words}\n" for outcome in outcomes for words in not_kept(outcome)]
    return "\n".join(
        (
            f"{machine.in_words}; lane {'on' if lane else 'off'}; {tried} of {len(outcomes)} faults tried\n",
            aligned([HEADS, *map(row_of, outcomes)], left=_LEFT),
            "every promise was kept\n" if not said else f"not kept:\n{''.join(said)}",
        )
    )


def not_kept(outcome: Outcome) -> list[str]:
    """What was not kept of one row, in words."""
    if outcome.is_error:
        return [f"it could not be tried: {outcome.why_not}"]
    return [f"{each.words} (promised: {outcome.promise.in_words()})" for each in outcome.broken]


def is_kept(outcomes: Sequence[Outcome]) -> bool:
    """Whether every promise was kept."""
    return not any(not_kept(outcome) for outcome in outcomes)


def as_data(outcomes: Sequence[Outcome], machine: Machine, *, lane: bool) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "machine": machine._asdict(),
        "lane": lane,
        "kept": is_kept(outcomes),
        "rows": [_row_data(outcome) for outcome in outcomes],
    }


def _row_data(outcome: Outcome) -> dict[str, Any]:
    promise = outcome.promise._asdict() | {"lost": outcome.promise.lost.value}
    seen = outcome.figures
    return {
        "name": outcome.row.name,
        "title": outcome.row.title,
        "promise": promise,
        "figures": None if seen is None else seen._asdict() | {kind: getattr(seen, kind)._asdict() for kind in _EXCHANGES},
        "why_not": outcome.why_not,
        "broken": [{"kind": each.kind.value, "words": each.words} for each in outcome.broken],
        "is_error": outcome.is_error,
    }


_EXCHANGES = ("connections", "datagrams", "held_datagrams")


def as_markdown(outcomes: Sequence[Outcome], machine: Machine, *, lane: bool) -> str:
    """The table for the manual, and what was not kept."""
    rows = [HEADS, tuple("---" for _ in HEADS), *map(row_of, outcomes)]
    table = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
    said = [f"- {outcome.row.title}: {words}\n" for outcome in outcomes for words in not_kept(outcome)]
    verdict = "Every promise was kept.\n" if not said else f"Not kept:\n\n{''.join(said)}"
    return f"Lane {'on' if lane else 'off'}; {machine.in_words}.\n\n{table}\n{verdict}"
