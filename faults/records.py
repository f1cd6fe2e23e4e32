"""What a client notes of its traffic, as plain data. Times are seconds of the machine's monotonic clock. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

ANSWERED = "answered"
"""The one good outcome of an exchange. The others are "refused", "reset", "closed", "no answer", "unreachable", "corrupted"."""

CORRUPTED = "corrupted"


class Gap(NamedTuple):
    """A time in which a stream got no byte."""

    began: float
    ended: float

    @property
    def length_s(self) -> float:
        """Its length."""
        return self.ended - self.began


class Stream(NamedTuple):
    """A stream that was held. `how_it_ended` is empty while it is open, and when its own client closed it at the end."""

    server: str
    local_port: int
    right_bytes: int
    last_progress: float
    gaps: tuple[Gap, ...]
    """The longer gaps, in order; one that still lasts is not in it."""
    how_it_ended: str = ""
    ended_at: float = 0.0


class Exchange(NamedTuple):
    """One question and its answer: a connection of its own, or a datagram. `took_s` counts to the outcome."""

    began: float
    took_s: float
    outcome: str


class Record(NamedTuple):
    """All that the clients noted."""

    streams: tuple[Stream, ...]
    connections: tuple[Exchange, ...]
    datagrams: tuple[Exchange, ...]
    held_datagrams: tuple[Exchange, ...]
    """Datagrams of one socket that is held all the time."""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        """The reverse of `as_data`, also after JSON has made lists of the tuples."""
        exchanges = (
            tuple(Exchange(*one) for one in data[name]) for name in ("connections", "datagrams", "held_datagrams")
        )  # fmt: skip
        streams = (Stream(*one)._replace(gaps=tuple(Gap(*gap) for gap in one[4])) for one in data["streams"])
        return cls(tuple(streams), *exchanges)
