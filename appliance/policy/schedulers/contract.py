"""What a scheduler is given and what it answers."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A real server of the service, as far as a scheduler needs to know it."""

    @property
    def weight(self) -> int:
        """Its share of new sessions, where the scheduler weighs them. 0 means drain: it gets no new session."""

    @property
    def endpoint(self) -> bytes:
        """Its address and port as they stand in a packet: the same for as long as the service has this real server."""


CandidateT = TypeVar("CandidateT", bound=Candidate)


class Scheduler(Protocol):
    """The scheduler of one service in one shard. It may remember what it picked."""

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes) -> CandidateT | None:
        """The candidate that gets the new session; None when there is none with a weight above 0.

        `candidates` are the real servers of the service in the order of the configuration; a reload may change them between
        two calls. `client_key` is the client's flow key: its address and port, then the service's (see `wire.flow`). The same
        client port always has the same key.
        """
