"""Where each number lies in the memory that the director and the workers share. Pure: it is given a buffer.

The memory begins with a header, which the director writes once: MAGIC, VERSION, the hash of the layout, and the size and shape of
this memory. A process that would read another layout than the one in the header refuses the memory.

Every cell has one writer, but for the clients of persistence (see `persistence_table`). The director writes tunables, route MTUs,
the generation, and the counters that it reads from the kernel, among them those of the lane, which have a row of their own behind
those of the shards; each worker writes the counters of its own shard. Every cell is an aligned 64-bit word, which x86-64 and
arm64 read and write whole, so no lock is needed and no packet waits for the API. The memory outlives a worker.
"""

from array import array
from hashlib import blake2s
from itertools import accumulate
from operator import add
from struct import Struct
from typing import NamedTuple

from appliance.ipc import client_table, persistence_table
from appliance.ipc.persistence_table import Locks, NoLocks
from appliance.model.counters import (
    ACTIVE_CONNS,
    DESTINATION_COUNTERS,
    DESTINATION_FIELDS,
    EXT_COUNTERS,
    INACTIVE_CONNS,
    OPEN_CONNS,
    OPENING_CONNS,
    QUEUE_COUNTERS,
    STATE_FIELDS,
    VERDICT_COUNTERS,
)
from appliance.model.tunables import INDEX, TUNABLES

TRAFFIC_FIELDS = ("conns", "in_packets", "out_packets", "in_bytes", "out_bytes")
"""The columns of `ip_vs_stats`, in the order of LVS; bytes are those of IP packets."""

COOKIE_EDGES, REFUSALS = 2, 3
"""Words: how often a service began to answer with SYN cookies, and stopped; how often it refused sessions, by LIMITS_REACHED."""

WORD_BYTES = 8

MAGIC = b"l4-appl\n"
"""The first eight bytes of the memory."""

VERSION = 18
"""The version of the layout. Whoever changes a table, a section or the header increases it and pins the new hash in the test."""

_TABLES: dict[str, tuple[str, ...]] = {
    "ext": tuple(counter.name for counter in EXT_COUNTERS),
    "verdicts": tuple(counter.name for counter in VERDICT_COUNTERS),
    "queue": tuple(counter.name for counter in QUEUE_COUNTERS),
    "states": STATE_FIELDS,
}
"""The tables of each shard: a word for each of these names."""

USUAL_MTU, MOST_MTU = 1500, 65_535
"""The MTU of Ethernet, in bytes, assumed for a real server whose route is not known; and the largest there is."""

_GAUGES = (ACTIVE_CONNS, INACTIVE_CONNS, OPENING_CONNS)
_COUNTED = ("ext", "verdicts", "queue")
"""Those with counters; the others have gauges."""

_TABLE_ENDS = dict(zip(_TABLES, accumulate(map(len, _TABLES.values())), strict=True))
_DESTINATIONS_START = sum(map(len, _TABLES.values()))
"""In words, from the start of a shard's numbers."""


class Header(NamedTuple):
    """What the memory says of itself. All numbers are unsigned and little-endian."""

    magic: bytes
    version: int
    layout_hash: bytes
    size_bytes: int
    shards: int
    destinations: int
    """How many real servers, counted once per service, have counters."""


_HEADER = Struct("<8sQ8sQQQ16x")
"""The fields of `Header`, in their order, in eight words."""


def layout_hash() -> bytes:
    """Eight bytes made of all sections and tables and the names in them, in their order; LAYOUT_HASH keeps them."""
    names = {"header": Header._fields, "tunables": tuple(TUNABLES)} | _TABLES | {"destinations": DESTINATION_FIELDS}
    sections = (f"{section} {words}" for section, words in _sections(shards=1, destinations=1).items())
    tables = (f"{table} {len(fields)} {' '.join(fields)}" for table, fields in names.items())
    return blake2s("\n".join((_HEADER.format, *sections, *tables)).encode(), digest_size=8).digest()


def _sections(shards: int, destinations: int) -> dict[str, int]:
    """The sections of the memory in their order, and the words of each."""
    return {
        "header": _HEADER.size // WORD_BYTES,
        "generation": 1,
        "tunables": len(TUNABLES),
        "mtus": destinations,
        "session_counts": shards,
        "time_wait_counts": shards,
        "udp_counts": shards,
        "short_lived": 3 * shards,
        "counters": (shards + 1) * _shard_words(destinations),
        "heartbeats": shards,
        "cookie_edges": shards * destinations * COOKIE_EDGES,
        "persistence": persistence_table.WORDS,
        "refusals": shards * destinations * REFUSALS,
        "clients": shards * client_table.ENTRIES,
        "early_rules": 1,  # whether the host has rules that see a SYN before the appliance
        "ready": shards * destinations,
    }


def _shard_words(destinations: int) -> int:
    return _DESTINATIONS_START + destinations * len(DESTINATION_FIELDS)


LAYOUT_HASH = layout_hash()


def size_bytes(shards: int, destinations: int) -> int:
    """Bytes needed for `shards` shards and `destinations` real servers (counted once per service)."""
    return WORD_BYTES * sum(_sections(shards, destinations).values())


def _wanted_header(shards: int, destinations: int) -> Header:
    return Header(MAGIC, VERSION, LAYOUT_HASH, size_bytes(shards, destinations), shards, destinations)


class LayoutError(ValueError):
    """The memory is not laid out as this process would read it; the message says what differs."""


class SharedState:
    """Views into the shared memory. Counters are unsigned words; tunables, MTUs and the generation are signed."""

    def __init__(self, buffer: memoryview, shards: int, destinations: int) -> None:
        """The views into memory that `create` has laid out.

        Raises LayoutError when the buffer is smaller than `size_bytes` says, or when its header is not that of this layout.
        """
        _check(buffer, shards, destinations)
        self.shards = shards
        self.lane = shards
        """The row of the lane's counters: `table` and `destination` take it in the place of a shard."""
        self.destinations = destinations
        sections, start = dict[str, memoryview](), 0
        for name, words in _sections(shards, destinations).items():
            end = start + words * WORD_BYTES
            sections[name] = buffer[start:end].cast("B")
            start = end
        self.generation = sections["generation"].cast("q")
        """One word, moved on by every write of a tunable or an MTU. A shard that sees it unchanged has the values in force."""
        self.tunables = sections["tunables"].cast("q")
        self.mtus = sections["mtus"].cast("q")
        """By slot: the MTU in bytes of the route to that real server; 0 while it is not known."""
        self.session_counts = sections["session_counts"].cast("Q")
        """By shard: how many sessions it has at this moment; side by side, because each shard sums them up for a new one."""
        self.time_wait_counts = sections["time_wait_counts"].cast("Q")
        """By shard: how many of its sessions are in TIME_WAIT, as of a fiftieth of a second ago at most."""
        self.udp_counts, self.short_lived = sections["udp_counts"].cast("Q"), sections["short_lived"].cast("Q")
        """By shard: how many of its sessions are of UDP; how many are young (`sessions.short_lived`), and after those of all
        shards, how many rest, and then how many spare endpoints there are."""
        self._counters = sections["counters"].cast("Q")
        self.heartbeats = sections["heartbeats"].cast("Q")
        """By shard: the turns that its workers have made. A worker that is up and does not move it on has stopped."""
        self._cookie_edges, self._refusals = sections["cookie_edges"].cast("Q"), sections["refusals"].cast("Q")
        self.ready = sections["ready"].cast("Q")
        """By shard, and there by slot: how many prepared admissions are ready. Each may become a session at any moment."""
        self.persistence = sections["persistence"].cast("Q")
        """The words of `persistence_table.PersistenceTable`, which all shards write."""
        self.clients = sections["clients"].cast("Q")
        """By shard: the words of its `client_table.ClientTable`."""
        self.early_rules = sections["early_rules"].cast("Q")
        self.locks: Locks = NoLocks()
        """Those of the persistence table. A worker puts locks here that it has in common with the others."""

    @classmethod
    def create(cls, buffer: memoryview, shards: int, destinations: int) -> "SharedState":
        """Lay out new memory, which is all zero. Raises LayoutError when it is smaller than `size_bytes` says."""
        if len(buffer) >= _HEADER.size:
            _HEADER.pack_into(buffer, 0, *_wanted_header(shards, destinations))
        return cls(buffer, shards, destinations)

    def count_on_from(self, earlier: "SharedState") -> None:
        """Take over what an earlier run has counted, maybe with other shards, and clients it remembers. Slots are the same."""
        for row in range(earlier.shards + 1):
            into = self.lane if row == earlier.lane else min(row, self.shards - 1)
            for table in _COUNTED:
                counts = self.table(into, table)
                counts[:] = array("Q", map(add, counts, earlier.table(row, table)))
            for slot in range(min(self.destinations, earlier.destinations)):
                counts, more = self.destination(into, slot), earlier.destination(row, slot)
                for place in DESTINATION_COUNTERS:
                    counts[place] += more[place]
        self.persistence[:] = earlier.persistence

    def give_up(self, slot: int, into: int) -> None:
        """A real server has this slot no more, and nobody writes to it: what it has counted goes to the slot `into`."""
        for row in range(self.shards + 1):
            counts = self.destination(row, slot)
            for place in DESTINATION_COUNTERS:
                self.destination(row, into)[place] += counts[place]
            counts[:] = memoryview(bytes(counts.nbytes)).cast("Q")
        for shard in range(self.shards):
            for cells in (self.cookie_edges(shard, slot), self.refusals(shard, slot)):
                cells[:] = memoryview(bytes(cells.nbytes)).cast("Q")

    def set_tunables(self, values: dict[str, int]) -> None:
        """Write checked values, then move the generation on, in this order (a reader does the opposite)."""
        for name, value in values.items():
            self.tunables[INDEX[name]] = value
        self.generation[0] += 1

    def set_mtus(self, mtus: dict[int, int]) -> None:
        """Write route MTUs (slot to bytes), then move the generation on."""
        for slot, mtu in mtus.items():
            self.mtus[slot] = mtu
        self.generation[0] += 1

    def mtu(self, slot: int) -> int:
        """The MTU to go by for the real server in a slot, in bytes."""
        return min(self.mtus[slot] or USUAL_MTU, MOST_MTU)

    def tunable(self, name: str) -> int:
        """The value in force."""
        return self.tunables[INDEX[name]]

    def forget_sessions(self, shard: int) -> None:
        """Set what counts the sessions of a shard to zero, when its worker has died or has just started."""
        self.session_counts[shard] = self.time_wait_counts[shard] = self.udp_counts[shard] = 0
        self.short_lived[shard :: self.shards] = memoryview(bytes(3 * WORD_BYTES)).cast("Q")
        of_slots, none = self.all_destinations(shard), memoryview(bytes(self.destinations * WORD_BYTES)).cast("Q")
        for gauge in _GAUGES:
            of_slots[gauge :: len(DESTINATION_FIELDS)] = none
        self.table(shard, "states")[:] = array("Q", bytes(len(STATE_FIELDS) * WORD_BYTES))

    def table(self, shard: int, name: str) -> memoryview:
        """Numbers of a shard: "ext", "verdicts" or "queue" for counters, "states" for gauges. Raises KeyError for any other."""
        end = shard * _shard_words(self.destinations) + _TABLE_ENDS[name]
        return self._counters[end - len(_TABLES[name]) : end]

    def destination(self, shard: int, slot: int) -> memoryview:
        """The DESTINATION_FIELDS of one shard for the real server in `slot` (see `plan.RealServerPlan`)."""
        words = len(DESTINATION_FIELDS)
        start = shard * _shard_words(self.destinations) + _DESTINATIONS_START + slot * words
        return self._counters[start : start + words]

    def conns_elsewhere(self, shard: int, slot: int) -> tuple[int, int, int]:
        """The ACTIVE_CONNS, INACTIVE_CONNS and OPENING_CONNS of a real server in all other shards, as last published."""
        words, start = _shard_words(self.destinations), _DESTINATIONS_START + slot * len(DESTINATION_FIELDS)
        starts = [start + row * words for row in range(self.shards) if row != shard]
        active, inactive, opening = (sum(self._counters[place + gauge] for place in starts) for gauge in _GAUGES)
        return active, inactive, opening

    def destination_column(self, place: int) -> list[int]:
        """What all shards together have counted at a place of DESTINATION_FIELDS, by slot."""
        columns = (self.column(shard, place).tolist() for shard in range(self.shards))
        return [sum(column) for column in zip(*columns, strict=True)]

    def open_elsewhere(self, shard: int, slot: int) -> int:
        """The OPEN_CONNS of a real server in all other shards, and what is ready there; 0 for a slot that is none."""
        if slot >= self.destinations:
            return 0
        words, start = _shard_words(self.destinations), _DESTINATIONS_START + slot * len(DESTINATION_FIELDS) + OPEN_CONNS
        others, counters, ready = [row for row in range(self.shards) if row != shard], self._counters, self.ready
        return sum(counters[start + row * words] + ready[row * self.destinations + slot] for row in others)

    def refusals(self, shard: int, slot: int) -> memoryview:
        """How often one shard has refused sessions of a service by its limits. It is counted as `cookie_edges` are."""
        start = (shard * self.destinations + slot) * REFUSALS
        return self._refusals[start : start + REFUSALS]

    def refusal_columns(self) -> list[list[int]]:
        """The same of all shards together, by slot: a list for each limit."""
        words = self.destinations * REFUSALS
        rows = (self._refusals[shard * words :][:words].tolist() for shard in range(self.shards))
        sums = list(map(sum, zip(*rows, strict=True)))
        return [sums[place::REFUSALS] for place in range(REFUSALS)]

    def all_destinations(self, shard: int) -> memoryview:
        """The DESTINATION_FIELDS of one shard for all real servers, by slot, one behind the other."""
        start = shard * _shard_words(self.destinations) + _DESTINATIONS_START
        return self._counters[start : start + self.destinations * len(DESTINATION_FIELDS)]

    def column(self, shard: int, field: int) -> memoryview:
        """One of the DESTINATION_FIELDS of one shard, by slot."""
        return self.all_destinations(shard)[field :: len(DESTINATION_FIELDS)]

    def cookie_edges(self, shard: int, slot: int) -> memoryview:
        """How often one shard has begun to answer with SYN cookies for a service, and how often it has stopped.

        A service is counted in the slot of any of its real servers, so its number is the sum over all of them.
        """
        start = (shard * self.destinations + slot) * COOKIE_EDGES
        return self._cookie_edges[start : start + COOKIE_EDGES]


def shape_of(buffer: memoryview) -> Header | None:
    """The header of memory that `create` has laid out, by whatever version; None when nobody has."""
    if len(buffer) < _HEADER.size:
        return None
    found = Header(*_HEADER.unpack_from(buffer))
    return found if found.magic == MAGIC else None


def _check(buffer: memoryview, shards: int, destinations: int) -> None:
    wanted = _wanted_header(shards, destinations)
    if len(buffer) < wanted.size_bytes:
        needed = f"{shards} shards and {destinations} real servers"
        raise LayoutError(f"shared memory of {len(buffer)} bytes is too small for {needed}")
    found = Header(*_HEADER.unpack_from(buffer))
    differences = [
        f"{field} {_shown(there)} and not {_shown(here)}"
        for field, there, here in zip(Header._fields, found, wanted, strict=True)
        if there != here
    ]
    if differences:
        raise LayoutError(f"the shared memory is not laid out as this process reads it: it has {', '.join(differences)}")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def totals(shared: SharedState) -> list[list[int]]:
    """TRAFFIC_FIELDS of each shard, and then of the lane, summed over all real servers."""
    places = [DESTINATION_FIELDS.index(field) for field in TRAFFIC_FIELDS]
    return [[sum(shared.column(row, place).tolist()) for place in places] for row in range(shared.shards + 1)]
