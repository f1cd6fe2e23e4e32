"""The maps of prepared admissions, as the director uses them (`ipc.lane_layout`)."""

import struct
from collections.abc import Iterable, Mapping, Sequence

from appliance.edge import bpf
from appliance.ipc.admission_layout import RING, RING_OFFSETS, RINGS
from appliance.ipc.lane_layout import STEERING
from appliance.ipc.ring_figures import RingFigures, ready_in, ring_figures

_INDEX = struct.Struct("=I")
_OPEN_AT = RING_OFFSETS["is_open"]


class LaneAdmissions:
    """What the program may open sessions with, and for whom."""

    def __init__(self, maps: Mapping[str, bpf.Map]) -> None:
        self._steering, self._admissions, self._proven = maps["steering"], maps["admissions"], maps["proven"]
        self._rings, self._lines = memoryview(maps["rings"].mapped()), memoryview(maps["lines"].mapped())

    def put_steering(self, hash_seed: int, shard_table: bytes) -> None:
        """Have the program find the shard of a client as the rules of netfilter do, see `policy.steering`. Raises EdgeError."""
        self._steering.update(_INDEX.pack(0), STEERING.pack(hash_seed, max(shard_table) + 1, shard_table))

    def put(self, first_rings: Mapping[bytes, int]) -> None:
        """Have the program open sessions of services: the first ring of each, by its key in the map. Raises EdgeError."""
        self._admissions.update_all({key: _INDEX.pack(ring) for key, ring in first_rings.items()})

    def remove(self, keys: Sequence[bytes]) -> None:
        """Have SYNs there go up. Raises EdgeError."""
        self._admissions.delete_all(keys)

    def put_for_proven(self, first_rings: Mapping[bytes, int]) -> None:
        """The same for clients that return a right SYN cookie. Raises EdgeError."""
        self._proven.update_all({key: _INDEX.pack(ring) for key, ring in first_rings.items()})

    def remove_for_proven(self, keys: Sequence[bytes]) -> None:
        """Have what returns a cookie there go up. Raises EdgeError."""
        self._proven.delete_all(keys)

    def close(self, rings: Iterable[int] = range(RINGS)) -> None:
        """Have nothing handed out that is in these rings. Their shards must not be there any more."""
        for ring in rings:
            _INDEX.pack_into(self._rings, ring * RING.size + _OPEN_AT, 0)

    def ready(self) -> int:
        """How many prepared admissions are ready."""
        return sum(ready_in(self._rings, ring) for ring in range(RINGS))

    def figures(self, rings: Iterable[int]) -> list[RingFigures]:
        """What stands in these rings."""
        return [ring_figures(self._rings, self._lines, ring) for ring in rings]

    def release(self) -> None:
        """Let go of the memory of rings and lines."""
        self._rings.release()
        self._lines.release()
