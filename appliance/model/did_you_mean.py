"""The name somebody most likely meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `name`, upper and lower case being alike; None when none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    matches = get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A clause to put behind an error message: ``; did you mean "weight"?``, or nothing when no name is near."""
    match = nearest(name, names)
    return f'; did you mean "{match}"?' if match else ""
