"""What a shard needs of the lane's maps (`ipc.lane_layout`). Those of the kernel are in `edge`, which knows no sessions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol


class Changed(Protocol):
    """A byte for each entry, 1 when the kernel has moved its state: `mmap` and `bytearray` are such."""

    def find(self, wanted: bytes, start: int, end: int, /) -> int:
        """The first place of a byte from `start` up to `end`; -1 when it is nowhere there."""

    def __setitem__(self, place: int, value: int, /) -> None: ...


class LaneMaps(Protocol):
    """The maps of the lane that a shard uses; `edge` has those of the kernel. A flow is `ipc.lane_layout.flow`."""

    @property
    def entries(self) -> int:
        """How many entries there are, for all shards; 0 when there is no lane."""

    @property
    def records(self) -> memoryview:
        """All records, RECORD_BYTES each, as writable bytes."""

    @property
    def changed(self) -> Changed:
        """A byte for each entry."""

    @property
    def rings(self) -> memoryview:
        """All rings of prepared admissions, as writable bytes."""

    @property
    def outside(self) -> memoryview:
        """`ipc.lane_layout.OUTSIDE`, as writable bytes."""

    @property
    def latches(self) -> memoryview:
        """All latches of front doors, as writable bytes."""

    @property
    def homes(self) -> memoryview:
        """The homes of all endpoints, by their entries, as writable bytes."""

    @property
    def lines(self) -> memoryview:
        """The lines of all pools, as writable bytes."""

    @property
    def datagram_clients(self) -> memoryview:
        """`ipc.lane_layout.DATAGRAM_CLIENTS`, as writable bytes."""

    @property
    def remembered(self) -> memoryview:
        """`ipc.persistence_table`, as writable bytes; empty when there is no lane."""

    @property
    def lookup_tables(self) -> memoryview:
        """All tables of clients, as writable bytes."""

    def refuse_source(self, key: bytes, value: bytes) -> None:
        """Write a value of the map `refused_sources`. When the kernel has no room for it, nothing is there."""

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Wait for programs at work on other CPUs, which takes microseconds; what was written before is visible to them first. It
        gives up when it takes far too long."""

    def insert(self, flows: bytes, entries: Sequence[int]) -> list[int]:
        """Add the flows of sessions, in the place of what is there under the same flows: for each of the entries that of arriving
        packets of the client and, behind it, that of the real server. Returns the entries for which there was no room for both;
        of those neither is there."""

    def add_flow(self, flow: bytes, value: int) -> bool:
        """Add one flow, unless it is there; False when it is, or when there is no room for it."""

    def remove(self, flows: bytes) -> None:
        """Take out these flows, one behind the other, whether or not they are there."""

    def flows(self) -> Iterator[tuple[bytes, int]]:
        """All flows and their values: the entry times 2, and 1 more for that of a real server."""

    def remove_flow(self, flow: bytes) -> None:
        """Take out one flow, whether or not it is there."""

    def value_of(self, flow: bytes) -> int | None:
        """The value of a flow of whichever shard, as in `flows`; None when it is not there."""

    def take_proof(self, entry: int) -> bytes | None:
        """Take the packet of an entry that waits for its real server (`ipc.lane_layout`, proofs). None when there is none, or
        the kernel has taken it first."""

    def proofs(self) -> list[int]:
        """The entries, of all shards, whose packets wait."""


class NoMaps:
    """The maps where there is no lane."""

    entries = 0
    records = memoryview(bytearray())
    changed = bytearray()
    rings = memoryview(bytearray())
    outside = memoryview(bytearray())
    latches = memoryview(bytearray())
    homes = memoryview(bytearray())
    lines = memoryview(bytearray())
    datagram_clients = memoryview(bytearray())
    remembered = memoryview(bytearray())
    lookup_tables = memoryview(bytearray())

    def refuse_source(self, *_: object) -> None:
        """Nobody is refused."""

    def wait_until(self, _: Callable[[], bool]) -> None:
        """Nobody is at work."""

    def insert(self, _: bytes, entries: Sequence[int]) -> list[int]:
        """Nothing comes in."""
        return list(entries)

    def add_flow(self, *_: object) -> bool:
        """Nobody else is there."""
        return True

    def remove(self, *_: object) -> None:
        """Nothing is there."""

    def flows(self) -> Iterator[tuple[bytes, int]]:
        """None."""
        return iter(())

    def remove_flow(self, _: bytes) -> None:
        """Nothing is there."""

    def value_of(self, _: bytes) -> int | None:
        """None is there."""
        return None

    def take_proof(self, _: int) -> bytes | None:
        """None waits."""
        return None

    def proofs(self) -> list[int]:
        """None."""
        return []
