"""What one run measures, and how."""

from typing import NamedTuple

from bench.measures.measure import Measure
from bench.modes.mode import Mode
from bench.rig.machine import Machine


class Setup(NamedTuple):
    """One run. `left_out` has a sentence for each mode that was asked for and could not be measured."""

    machine: Machine
    modes: tuple[Mode, ...]
    measures: tuple[Measure, ...]
    shards: int
    rounds: int
    seconds: int
    left_out: tuple[str, ...] = ()

    def measured_modes(self, measure: Measure) -> list[Mode]:
        """The modes that carry what is measured."""
        return [mode for mode in self.modes if measure.protocol in mode.protocols]
