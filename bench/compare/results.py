"""What was measured in one run, and how modes compare. Pure."""

from collections.abc import Callable, Iterator, Sequence

from bench.measures.measure import Measure
from bench.modes.mode import Mode
from bench.rig.reading import Reading
from bench.rig.results import Spread, rotated, spread

GATEWAY_CPU, ALL_CPU = "gateway_cpu_us", "all_cpu_us"
"""Details of a reading: microseconds of CPU time for each unit, of the gateway's processes and of everything."""

OTHERS_SHARE = "others_share"
"""Detail of a reading: the share of all cores that other programs took meanwhile."""


def schedule(rounds: int, measures: Sequence[Measure], modes: Sequence[Mode]) -> Iterator[tuple[int, Measure, Mode]]:
    """Every measurement, in order, with its round, from 0. Modes that do not carry what is measured are left out.

    The modes of one measure come one right after the other, because a machine drifts. Each round starts with the next mode, so
    that no mode is always the first, or the last.
    """
    for number in range(rounds):
        for measure in measures:
            for mode in rotated(modes, number):
                if measure.protocol in mode.protocols:
                    yield number, measure, mode


class Results:
    """The readings of one run by measure and mode, in the order of the rounds."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], list[Reading]] = {}

    def add(self, measure: Measure, mode: Mode, reading: Reading) -> None:
        """Add the reading of the next round."""
        self._readings.setdefault((measure.name, mode.name), []).append(reading)

    def readings(self, measure: Measure, mode: Mode) -> list[Reading]:
        """The readings so far; none for a mode that does not carry what is measured."""
        return self._readings.get((measure.name, mode.name), [])

    def spread(self, measure: Measure, mode: Mode) -> Spread | None:
        """The spread of the main figure; readings with trouble count as the others do."""
        return spread(reading.value for reading in self.readings(measure, mode))

    def detail(self, measure: Measure, mode: Mode, name: str) -> Spread | None:
        """The spread of a detail, of the readings that have it."""
        return spread(reading.details[name] for reading in self.readings(measure, mode) if name in reading.details)

    def ratio(self, measure: Measure, mode: Mode, base: Mode) -> Spread | None:
        """How a mode compares with another, round by round: within a round the machine is the same, over all rounds it is not.

        Rounds in which `base` has 0 are left out; None when no round is left.
        """
        return self._paired(measure, mode, base, _ratio)

    def beyond(self, measure: Measure, mode: Mode, base: Mode, detail: str) -> Spread | None:
        """By how much a detail is larger than that of `base`, round by round; None when no round has both."""
        return self._paired(measure, mode, base, lambda one, other: _difference(one, other, detail))

    def _paired(
        self, measure: Measure, mode: Mode, base: Mode, compare: Callable[[Reading, Reading], float | None]
    ) -> Spread | None:
        pairs = zip(self.readings(measure, mode), self.readings(measure, base), strict=False)
        compared = (compare(one, other) for one, other in pairs)
        return spread(value for value in compared if value is not None)

    def troubled_rounds(self, measure: Measure, mode: Mode) -> list[tuple[int, str]]:
        """The rounds, from 0, in which something went wrong, and what."""
        return [(number, reading.trouble) for number, reading in enumerate(self.readings(measure, mode)) if reading.trouble]

    def others_share(self) -> Spread | None:
        """The share of all cores that other programs took, over all measurements; None when CPU time was not accounted."""
        every = (reading for readings in self._readings.values() for reading in readings)
        return spread(reading.details[OTHERS_SHARE] for reading in every if OTHERS_SHARE in reading.details)

    def has_empty(self) -> bool:
        """Whether a measurement has no figure at all."""
        return any(not reading.value for readings in self._readings.values() for reading in readings)


def _ratio(one: Reading, other: Reading) -> float | None:
    return one.value / other.value if other.value else None


def _difference(one: Reading, other: Reading, detail: str) -> float | None:
    has_both = detail in one.details and detail in other.details
    return one.details[detail] - other.details[detail] if has_both else None
