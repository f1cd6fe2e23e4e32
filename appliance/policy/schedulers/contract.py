"""What a scheduler is given and what it answers."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from appliance.policy.schedulers.maglev_table import USUAL_PLACES, MaglevTables
from appliance.policy.schedulers.slow_start import SlowStart


class Candidate(Protocol):
    """A real server of the service that may get new sessions, as far as a scheduler needs to know it."""

    @property
    def weight(self) -> int:
        """Its share of new sessions, where the scheduler weighs them. 0 means drain: it gets no new session."""

    @property
    def endpoint(self) -> bytes:
        """Its address and port as they stand in a packet: the same for as long as the service has this real server."""

    @property
    def load(self) -> int:
        """What its sessions of all shards weigh together (see `least_connections`)."""

    @property
    def slow_start(self) -> SlowStart | None:
        """How far it has come since it came back; None when it has its whole share."""


CandidateT = TypeVar("CandidateT", bound=Candidate)


class Setup(NamedTuple):
    """What a scheduler is made with."""

    shard: int
    """The shard that it picks for. Shards begin at different real servers, so that they do not all send their first sessions to
    the same one."""
    tables: MaglevTables
    """The tables of the shard, which its services share."""
    maglev_places: int = USUAL_PLACES
    """How many places a table of this service has."""


class ByClient(NamedTuple):
    """Where all clients go, in a form that needs no scheduler any more."""

    hash_state: tuple[int, ...]
    """That of `hashing.fixed_hash` of the client's address."""
    owners: Sequence[int]
    """By the hash modulo its length, or by what stands in `table`: the index of the candidate."""
    table: "array[int]" = array("B")
    """By the hash modulo its length: the place among `owners`. Empty when the hash leads there by itself."""


class Scheduler(Protocol):
    """The scheduler of one service in one shard. It may remember what it picked."""

    needs_load: bool
    """Whether it asks for the load of candidates, which then has to be known."""
    needs_client: bool
    """Whether it asks for the client, and for nothing else."""

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:
        """The candidate that gets the new session; None when there is none with a weight above 0.

        `candidates` are in the order of the configuration. The sequence is the same object for as long as it has the same members
        with the same weights, and another object from then on: what a scheduler has prepared for it holds as long. `client_key`
        is the client's flow key: its address and port, then the service's (see `wire.flow`). The same client port always has the
        same key. `now` is in seconds of the monotonic clock.
        """
