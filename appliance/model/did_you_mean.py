"""A suggestion for a name that does not exist: the existing name that is most like it."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `name`, ignoring case; None when none is similar."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    matches = get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A clause for the end of an error message: ``; did you mean "weight"?``, or the empty string when no name is similar."""
    match = nearest(name, names)
    return f'; did you mean "{match}"?' if match else ""
