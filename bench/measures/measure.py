"""What a measure is."""

from collections.abc import Callable
from typing import NamedTuple

from bench.rig.reading import Reading
from bench.rig.topology import Site


class Load(NamedTuple):
    """One measurement to make: in the lab `site`, for so many seconds, through addresses of one mode that is open."""

    site: Site
    pair: tuple[str, ...]
    """The two addresses of this round, for short connections and requests."""
    bulk_target: str
    """The address for everything that goes to the first real server alone."""
    seconds: int


class Figure(NamedTuple):
    """A figure of a measure beside its main one, by its name in `Reading.details`."""

    name: str
    title: str
    decimals: int


class Measure(NamedTuple):
    """What is measured. `name` is that of the command line and of JSON."""

    name: str
    title: str

    value_title: str
    """The main figure with its unit."""
    decimals: int
    measure: Callable[[Load], Reading]

    details: tuple[Figure, ...] = ()
    unit: str = ""
    """What CPU time is divided by, in the singular; empty where it would mean nothing."""

    more_is_better: bool = True
    protocol: str = "tcp"
    """Modes that do not carry it are left out."""

    shards: int | None = None
    """The number of shards that it needs; None for that of the command line."""

    may_drop: bool = False
    """Whether a full queue is a part of what is measured; elsewhere it is an error."""

    programs: tuple[str, ...] = ()
    """Programs that it needs and that may not be installed."""
