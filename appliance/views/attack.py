"""Attacks that are under way and those that are over, as text and as JSON. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from appliance.attack.watch import Attack
from appliance.views.document import Document, align

_HEAD = ("attack", "began", "ended", "lasted_s", "dropped", "now/s", "peak/s", "new sessions/s", "before/s", "dropped by")


def attacks(under_way: Iterable[Attack], ended: Iterable[Attack]) -> Document:
    """One line for each attack: those that are under way, then those that are over, the latest first."""
    now, over = list(under_way), list(ended)[::-1]
    data = {"under_way": [_data(attack) for attack in now], "ended": [_data(attack) for attack in over]}
    head = ", ".join(f"{attack.kind.name} ({attack.kind.summary})" for attack in now)
    text = f"under attack: {head}\n" if now else "no attack\n"
    lines = [_line(attack) for attack in (*now, *over)]
    return Document(text + (align("<<<>>>>>><", (_HEAD, *lines)) if lines else ""), data)


def _data(attack: Attack) -> dict[str, Any]:
    return {
        "kind": attack.kind.name,
        "summary": attack.kind.summary,
        "began": _time(attack.began_wall_s),
        "ended": None if attack.ended_wall_s is None else _time(attack.ended_wall_s),
        "lasted_s": round(attack.lasted_s, 1),
        "dropped": attack.dropped,
        "rate_per_s": round(attack.rate_per_s, 1),
        "peak_per_s": round(attack.peak_per_s, 1),
        "rules": dict(attack.rules.most_common()),
        "sessions": attack.sessions,
        "proofs": attack.proofs,
        "sessions_per_s": round(attack.sessions_per_s, 1),
        "sessions_per_s_before": round(attack.sessions_per_s_before, 1),
    }


def _line(attack: Attack) -> tuple[str, ...]:
    data = _data(attack)
    shown = (
        "kind",
        "began",
        "ended",
        "lasted_s",
        "dropped",
        "rate_per_s",
        "peak_per_s",
        "sessions_per_s",
        "sessions_per_s_before",
    )
    rules = " ".join(f"{rule}={count}" for rule, count in data["rules"].items())
    return (*("-" if data[name] is None else str(data[name]) for name in shown), rules)


def _time(wall_s: float) -> str:
    """In UTC, as in RFC 3339."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
