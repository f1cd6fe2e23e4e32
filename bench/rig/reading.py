"""What one measurement says."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NO_DETAILS: Mapping[str, float] = MappingProxyType({})


class Reading(NamedTuple):
    """The figure of one measurement. `trouble` says what went wrong during it; empty when nothing did."""

    value: float
    trouble: str = ""

    units: float = 0.0
    """How much was done in all: connections, requests, megabits, packets. CPU time is divided by it."""

    details: Mapping[str, float] = _NO_DETAILS
    """Further figures, by name."""

    def with_trouble(self, more: str) -> "Reading":
        """The same figure with one more thing that went wrong."""
        return self._replace(trouble="; ".join(filter(None, (self.trouble, more))))

    def with_details(self, **more: float) -> "Reading":
        """The same figure with more details."""
        return self._replace(details={**self.details, **more})
