"""Sets of HTTP status codes, as they are written in the configuration: "200-399,404"."""

import re

LOWEST, HIGHEST = 100, 599
_PART = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")
_MOST_PARTS = 20


def ranges(text: str) -> tuple[tuple[int, int], ...]:
    """The ranges of a set, both ends included. Raises ValueError, as the end of a sentence, for what is no set."""
    parts = text.split(",")
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"has more than {_MOST_PARTS} parts")
    return tuple(_range(part.strip()) for part in parts)


def _range(part: str) -> tuple[int, int]:
    found = _PART.fullmatch(part)
    if not found:
        raise ValueError('is not a set of HTTP status codes, such as "200-399,404"')
    low, high = int(found[1]), int(found[2] or found[1])
    if not LOWEST <= low <= high <= HIGHEST:
        raise ValueError(f"has a range that is empty or not within {LOWEST}..{HIGHEST}")
    return low, high


def matches(text: str, status: int) -> bool:
    """Whether a set has this status code."""
    return any(low <= status <= high for low, high in ranges(text))
