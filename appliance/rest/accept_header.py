"""Which form of a view a client wants, from its Accept header (RFC 9110, 12.5.1). Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

TEXT = "text/plain"
JSON = "application/json"

_QUALITY = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class _Rank(NamedTuple):
    """How much a client wants an offer, not at all by default; the fields are compared in this order."""

    quality: float = 0.0
    specificity: int = 0
    place: int = 0
    """Minus the position in the header: clients list first what they like best."""


def prefers_json(accept: str) -> bool:
    """Whether a client with this Accept header would rather have JSON; text wins a tie, so curl's ``*/*`` gets text.

    A header that allows neither gets text too: an answer in the wrong form helps a person more than a 406 does.
    """
    return _rank(JSON, accept) > _rank(TEXT, accept)


def _rank(offer: str, accept: str) -> _Rank:
    levels = {"*/*": 1, f"{offer.partition('/')[0]}/*": 2, offer: 3}
    matches = (
        (levels[media_type], quality, -position)
        for position, (media_type, quality) in enumerate(_media_ranges(accept))
        if media_type in levels
    )
    # The most specific range speaks for an offer, even when a wider one values it more.
    specificity, quality, place = max(matches, default=(0, 0.0, 0))
    return _Rank(quality, specificity, place) if quality else _Rank()


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for media_range in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        found = next(filter(None, map(_QUALITY.fullmatch, parameters)), None)
        yield media_type, float(found[1]) if found else 1.0
