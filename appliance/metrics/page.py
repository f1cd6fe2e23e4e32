"""The page of all metrics, in the formats of Prometheus and as JSON. Pure.

`lines` writes the formats as prometheus_client does, the library of the Prometheus project itself. It says how they are called.
"""

import gzip
from enum import Enum
from itertools import chain

from prometheus_client.exposition import choose_encoder

from appliance.metrics.condition import CONDITION, TUNABLE_FAMILIES
from appliance.metrics.counted import EXT, LANE, QUEUES, VERDICT_FAMILIES
from appliance.metrics.family import Family
from appliance.metrics.lines import openmetrics_page, text_page
from appliance.metrics.reading import Reading
from appliance.metrics.traffic import TRAFFIC
from appliance.views.document import json_pieces

FAMILIES: tuple[Family, ...] = (*CONDITION, *TRAFFIC, *VERDICT_FAMILIES, *EXT, *QUEUES, *LANE, *TUNABLE_FAMILIES)
"""All families, in the order of the page."""

_FAST = 1
"""The level of compression: a page shrinks to a twentieth with the fastest one already."""


class Form(Enum):
    """A format of the page. The value is its media type."""

    TEXT = "text/plain"
    """Prometheus' text format, version 0.0.4."""
    OPENMETRICS = "application/openmetrics-text"
    """OpenMetrics 1.0.0."""
    JSON = "application/json"


_ASKED = {
    Form.TEXT: Form.TEXT.value,
    # All names here are valid in every version, so nothing is escaped; without the last word, the library tries to, letter by
    # letter, which takes as long as all the rest.
    Form.OPENMETRICS: f"{Form.OPENMETRICS.value}; version=1.0.0; escaping=allow-utf-8",
}
"""What the library's own choice is asked with. It never sees what a client sent: it would repeat that in the answer's headers."""


def content_type(form: Form) -> str:
    """The Content-Type of a form."""
    return "application/json; charset=utf-8" if form is Form.JSON else choose_encoder(_ASKED[form])[1]


def render(form: Form, reading: Reading) -> bytes:
    """The whole page, made in steps of a millisecond or two: in a thread, others have their turns meanwhile."""
    if form is Form.TEXT:
        pieces = text_page(FAMILIES, reading)
    elif form is Form.OPENMETRICS:
        pieces = openmetrics_page(FAMILIES, reading)
    else:
        pieces = chain.from_iterable((json_pieces(_as_data(reading), depth=3), "\n"))
    return b"".join([piece.encode() for piece in pieces])


def compress(page: bytes) -> bytes:
    """The page for clients that take gzip."""
    return gzip.compress(page, _FAST, mtime=0)


def _as_data(reading: Reading) -> dict[str, object]:
    return {
        family.series_name: {
            "type": family.kind.value,
            "help": family.meaning,
            "samples": [
                {"labels": dict(zip(family.labels, values, strict=True)), "value": float(number)}
                for values, number in family.read(reading)
            ],
        }
        for family in FAMILIES
    }
