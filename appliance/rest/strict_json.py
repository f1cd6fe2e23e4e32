"""JSON from strangers: RFC 8259 and nothing more. Pure."""

import json
from collections import Counter
from typing import Any

_LONGEST_SHOWN = 80


def parse_json(text: str) -> Any:
    """The value of a text. Raises ValueError when it is not JSON: also for NaN and infinities, which Python would take, for an
    object that has a name twice, of which readers take either value (RFC 8259, section 4), and for what is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        twice = next(name for name, number in Counter(name for name, _ in members).items() if number > 1)
        raise ValueError(f"{json.dumps(twice[:_LONGEST_SHOWN])} stands twice in one object")
    return found
