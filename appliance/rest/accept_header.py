"""Which form of an answer a client prefers, and whether it takes gzip, from its headers (RFC 9110, section 12.5). Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TEXT = "text/plain"
JSON = "application/json"

_QUALITY = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class _Rank(NamedTuple):
    """How much a client wants one form of the answer; by default not at all. Ranks compare field by field, in this order."""

    quality: float = 0.0
    specificity: int = 0
    place: int = 0
    """Minus the position in the header, because clients put what they prefer first."""


def prefers_json(accept: str) -> bool:
    """Whether a client with this Accept header prefers JSON. Text wins a tie, so curl's ``*/*`` gets text.

    A header that allows neither form gets text too: an answer in the wrong form helps a person more than a 406 does.
    """
    return preferred((TEXT, JSON), accept) == JSON


def preferred(offers: Sequence[str], accept: str) -> str:
    """Which of several media types a client with this Accept header prefers: of those that it prefers equally, the first."""
    return max(offers, key=lambda offer: _rank(offer, accept))


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client with this Accept-Encoding header wants gzip (RFC 9110, section 12.5.3). One that says nothing does not."""
    qualities = dict(_media_ranges(accept_encoding))
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _rank(offer: str, accept: str) -> _Rank:
    levels = {"*/*": 1, f"{offer.partition('/')[0]}/*": 2, offer: 3}
    matches = (
        (levels[media_type], quality, -position)
        for position, (media_type, quality) in enumerate(_media_ranges(accept))
        if media_type in levels
    )
    # The most specific range decides, even when a wider one has a higher quality (RFC 9110, section 12.5.1).
    specificity, quality, place = max(matches, default=(0, 0.0, 0))
    return _Rank(quality, specificity, place) if quality else _Rank()


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for media_range in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        found = next(filter(None, map(_QUALITY.fullmatch, parameters)), None)
        yield media_type, float(found[1]) if found else 1.0
