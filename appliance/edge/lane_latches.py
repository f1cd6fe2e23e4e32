"""The latches of front doors, as the director uses them (`ipc.lane_layout`)."""

from collections.abc import Iterable, Mapping

from appliance.edge import bpf
from appliance.ipc.lane_layout import LATCH, LATCH_OFFSETS, LATCHES

_WORD_BYTES = 4
_WORDS = LATCH.size // _WORD_BYTES
_IS_OPEN, _IS_KEPT = LATCH_OFFSETS["is_open"] // _WORD_BYTES, LATCH_OFFSETS["is_kept"] // _WORD_BYTES


class LaneLatches:
    """Those of all shards. A shard opens and closes its own."""

    def __init__(self, maps: Mapping[str, bpf.Map]) -> None:
        self._words = memoryview(maps["latches"].mapped()).cast("B").cast("I")

    def close(self, latches: Iterable[int] = range(LATCHES)) -> None:
        """Close these, and have nobody believe them: their shards must not be there any more, so nobody would take what the
        kernel has promised, or say what clients may have."""
        for latch in latches:
            self._words[latch * _WORDS + _IS_OPEN] = self._words[latch * _WORDS + _IS_KEPT] = 0

    def release(self) -> None:
        """Let go of the memory."""
        self._words.release()
