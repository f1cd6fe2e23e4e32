"""Where each number lies in the memory that the director and the workers share. Pure: it is handed a buffer.

One writer per cell: the director writes tunables, route MTUs, the generation and the queue counters it reads from the kernel;
each worker writes the counters of its own shard. Every cell is an aligned 64-bit word, which x86-64 and arm64 read and write
whole, so no lock is needed and no packet waits for the API. The memory outlives a worker, and with it the counters.
"""

from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS, QUEUE_COUNTERS, STATE_FIELDS, VERDICT_COUNTERS
from appliance.model.tunables import INDEX, TUNABLES

TRAFFIC_FIELDS = ("conns", "in_packets", "out_packets", "in_bytes", "out_bytes")
"""The columns of `ip_vs_stats`, in the order of LVS; bytes are those of IP packets."""

WORD_BYTES = 8

_TABLES = {
    "ext": len(EXT_COUNTERS),
    "verdicts": len(VERDICT_COUNTERS),
    "queue": len(QUEUE_COUNTERS),
    "states": len(STATE_FIELDS),
}


def size_bytes(shards: int, destinations: int) -> int:
    """Bytes needed for `shards` shards and `destinations` real servers (counted once per service)."""
    return WORD_BYTES * (1 + len(TUNABLES) + destinations + 2 * shards + shards * _shard_words(destinations))


def _shard_words(destinations: int) -> int:
    return sum(_TABLES.values()) + destinations * len(DESTINATION_FIELDS)


class SharedState:
    """Views into the shared buffer. Counters are unsigned words; tunables and the generation are signed."""

    def __init__(self, buffer: memoryview, shards: int, destinations: int) -> None:
        """Raises ValueError when the buffer is smaller than `size_bytes` says."""
        if len(buffer) < size_bytes(shards, destinations):
            raise ValueError(f"shared state of {len(buffer)} bytes is too small for {shards} shards, {destinations} destinations")
        self.shards = shards
        self.destinations = destinations
        whole = buffer[: size_bytes(shards, destinations)]
        self.generation = whole[:WORD_BYTES].cast("q")
        """One word, moved on by every write of a tunable or an MTU: a shard that sees it unchanged has the values in force."""
        tunables_end = WORD_BYTES * (1 + len(TUNABLES))
        mtus_end = tunables_end + WORD_BYTES * destinations
        self.tunables = whole[WORD_BYTES:tunables_end].cast("q")
        self.mtus = whole[tunables_end:mtus_end].cast("q")
        """By slot: the MTU in bytes of the route to that real server; 0 while it is not known."""
        counts_end = mtus_end + WORD_BYTES * 2 * shards
        counts = whole[mtus_end:counts_end].cast("B").cast("Q")
        self.session_counts = counts[:shards]
        """By shard: how many sessions it has at this moment. Side by side, for each shard sums them up when it opens one."""
        self.time_wait_counts = counts[shards:]
        """By shard: how many of them are in TIME_WAIT, as of its last turn."""
        self._counters = whole[counts_end:].cast("B").cast("Q")

    def set_tunables(self, values: dict[str, int]) -> None:
        """Write values that were checked before, then move the generation on, in this order (a reader does the reverse)."""
        for name, value in values.items():
            self.tunables[INDEX[name]] = value
        self.generation[0] += 1

    def set_mtus(self, mtus: dict[int, int]) -> None:
        """Write route MTUs (slot to bytes), then move the generation on."""
        for slot, mtu in mtus.items():
            self.mtus[slot] = mtu
        self.generation[0] += 1

    def tunable(self, name: str) -> int:
        """The value in force."""
        return self.tunables[INDEX[name]]

    def forget_sessions(self, shard: int) -> None:
        """The worker of a shard has died, or has just started, and has no sessions."""
        self.session_counts[shard] = self.time_wait_counts[shard] = 0
        gauges = self.table(shard, "states")
        gauges[:] = memoryview(bytes(gauges.nbytes)).cast("Q")

    def table(self, shard: int, name: str) -> memoryview:
        """The numbers of one shard: `name` is "ext", "verdicts" or "queue" for counters, "states" for gauges."""
        start = shard * _shard_words(self.destinations)
        for table, words in _TABLES.items():
            if table == name:
                return self._counters[start : start + words]
            start += words
        raise KeyError(name)

    def destination(self, shard: int, slot: int) -> memoryview:
        """The DESTINATION_FIELDS of one shard for the real server in `slot` (see `control.RealServerPlan`)."""
        words = len(DESTINATION_FIELDS)
        start = shard * _shard_words(self.destinations) + sum(_TABLES.values()) + slot * words
        return self._counters[start : start + words]


def totals(shared: SharedState) -> list[list[int]]:
    """TRAFFIC_FIELDS of each shard, summed over all real servers."""
    places = [DESTINATION_FIELDS.index(field) for field in TRAFFIC_FIELDS]
    by_shard = ([shared.destination(shard, slot) for slot in range(shared.destinations)] for shard in range(shared.shards))
    return [[sum(counts[place] for counts in destinations) for place in places] for destinations in by_shard]
