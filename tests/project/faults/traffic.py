"""What clients might have noted, for tests."""

from faults.figures import Times
from faults.records import ANSWERED, Exchange, Gap, Record, Stream

TIMES = Times(began=10.0, over=13.0, ended=20.0)
"""A fault of three seconds."""


def stream(*gaps: tuple[float, float], port: int = 5_000, server: str = "rs1", last: float = 20.0, ended: str = "") -> Stream:
    """A stream that moved until `last`."""
    return Stream(server, port, 1_000, last, tuple(Gap(*gap) for gap in gaps), ended, last if ended else 0.0)


def exchange(began: float, outcome: str = ANSWERED, took_s: float = 0.01) -> Exchange:
    """One exchange."""
    return Exchange(began, took_s, outcome)


def steady(*others: Exchange) -> tuple[Exchange, ...]:
    """Good exchanges from before the fault to the end, one a second, and others."""
    return (*(exchange(float(second)) for second in range(8, 20)), *others)


def record(*streams: Stream, connections: tuple[Exchange, ...] = steady(), datagrams: tuple[Exchange, ...] = steady()) -> Record:
    """All that was noted."""
    return Record(streams, connections, datagrams, steady())
