"""The families of the counters that the lists of `model` name: extended counters, verdicts, queues, the lane. Pure.

Each HELP text is the summary of its list. Where one family has a series for each name of a list, the reference explains them.
"""

from collections.abc import Callable, Iterable, Iterator

from appliance.metrics.family import Family, Series, counter
from appliance.metrics.reading import Reading
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS
from appliance.model.lane_counters import LANE_COUNTERS, LaneCounter
from appliance.model.verdict import Action
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER, VERDICTS

UP = "up_"
"""How the names of those counters of the lane begin that say why a packet went up to a worker."""

_Read = Callable[[Reading], Iterable[Series]]


def _ext(place: int, name: str) -> _Read:
    """Who counted is a label, since the kernel's part may start anew at a restart of the appliance, and the others do not: in a
    sum of all, such a start would look as if everything had been counted once more."""

    def read(reading: Reading) -> Iterator[Series]:
        *shards, lane = (reading.shared.table(row, "ext")[place] for row in range(reading.shared.shards + 1))
        yield ("shards",), sum(shards)
        yield ("lane",), lane
        if reading.kernel_drops is not None and name in reading.kernel_drops:
            yield ("kernel",), reading.kernel_drops[name]

    return read


def _verdicts(action: Action) -> _Read:
    shown = [verdict for verdict in VERDICTS if verdict.action is action and verdict not in (TO_REAL_SERVER, TO_CLIENT)]

    def read(reading: Reading) -> Iterator[Series]:
        counts = [sum(column) for column in zip(*reading.table("verdicts"), strict=True)]
        return (((verdict.name,), counts[verdict.index]) for verdict in shown)

    return read


def _queue(place: int) -> _Read:
    return lambda reading: (
        ((str(shard),), reading.shared.table(shard, "queue")[place]) for shard in range(reading.shared.shards)
    )  # fmt: skip


def _lane(place: int) -> _Read:
    return lambda reading: [((), count) for count in reading.lane.counts[place : place + 1]]


def _handed_up(reading: Reading) -> Iterator[Series]:
    counts = zip(LANE_COUNTERS, reading.lane.counts, strict=False)
    return (((one.name.removeprefix(UP),), count) for one, count in counts if is_reason(one))


def is_reason(one: LaneCounter) -> bool:
    """Whether a counter of the lane says why packets went up to a worker."""
    return one.name.startswith(UP)


EXT: tuple[Family, ...] = tuple(
    counter(one.name, one.summary, _ext(place, one.name), "by") for place, one in enumerate(EXT_COUNTERS)
)
VERDICT_FAMILIES: tuple[Family, ...] = (
    counter("dropped_packets", "packets that were dropped, by reason", _verdicts(Action.DROP), "reason"),
    counter("accepted_packets", "packets that were left to the host, by reason", _verdicts(Action.ACCEPT), "reason"),
    counter(
        "rewritten_packets",
        "packets that were rewritten and sent on, those of sessions between their two ends excepted, by reason",
        _verdicts(Action.REWRITTEN),
        "reason",
    ),
)
QUEUES: tuple[Family, ...] = tuple(
    counter(one.name, one.summary, _queue(place), "shard") for place, one in enumerate(QUEUE_COUNTERS)
)
LANE: tuple[Family, ...] = (
    *(
        counter(f"lane_{one.name}_packets", one.meaning, _lane(place))
        for place, one in enumerate(LANE_COUNTERS)
        if not is_reason(one)
    ),
    counter("lane_handed_up_packets", "packets that the lane left to a worker, by reason", _handed_up, "reason"),
)
