"""The page of all metrics that Prometheus reads."""

from collections.abc import Iterable, Sequence

from appliance.metrics.condition import CONDITION, TUNABLE_FAMILIES
from appliance.metrics.counted import EXT, LANE, QUEUES, UP, VERDICT_FAMILIES, is_reason
from appliance.metrics.family import Family
from appliance.metrics.page import FAMILIES
from appliance.metrics.traffic import TRAFFIC
from appliance.model.lane_counters import LANE_COUNTERS
from tools.reference.markdown import Entry, code, item, paragraph
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
`GET /metrics` answers these. Times are in seconds, sizes in bytes. A counter (its name ends in `_total`) only grows, but for a
new start at zero; everything else is a gauge. [Monitoring](../how-to/monitoring.md) shows how Prometheus comes to read them.
"""
_VERDICTS = "The values of `reason` are those of [drop reasons](drop-reasons.md)."
_EXT = """\
The label `by` says who counted: `shards`, `lane`, or `kernel` for what the rules of the defence dropped before it came to a
shard. Their sum is what `GET /stats/ext` calls the total.
"""
_LANE = "The values of `reason`:"
_TUNABLES = "The values in force. Milliseconds are seconds here, and percent are parts of 1."

SECTIONS: Sequence[tuple[str, str, Sequence[Family]]] = (
    ("How the gateway is", "", CONDITION),
    ("Traffic and sessions", "", TRAFFIC),
    ("Packets by verdict", _VERDICTS, VERDICT_FAMILIES),
    ("Extended counters", _EXT, EXT),
    ("Queues, workers, ends of sessions", "", QUEUES),
    ("The lane", "", LANE),
    ("Tunables", _TUNABLES, TUNABLE_FAMILIES),
)


def entries() -> list[Entry]:
    """All families."""
    return [Entry(family.series_name, family.meaning) for family in FAMILIES]


def page() -> str:
    """The page."""
    blocks = (block for section in SECTIONS for block in _section(*section))
    reasons = (f"{code(one.name.removeprefix(UP))}: {one.meaning}." for one in LANE_COUNTERS if is_reason(one))
    return whole_page(
        "Metrics",
        paragraph(_INTRODUCTION),
        *blocks,
        *("## Why the lane leaves packets to a worker", paragraph(_LANE), "\n".join(map(item, reasons))),
    )


def _section(title: str, text: str, families: Sequence[Family]) -> Iterable[str]:
    yield f"## {title}"
    yield paragraph(text)
    for family in families:
        yield f"### {code(family.series_name)}"
        labels = f" Labels: {', '.join(map(code, family.labels))}." if family.labels else ""
        yield paragraph(f"{family.kind.value.capitalize()}.{labels} {family.meaning}")
