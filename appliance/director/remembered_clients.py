"""Where the clients of persistence are remembered: in a map of the kernel while there is a lane, so that it can open sessions for
them, and else in the shared memory. They stay remembered when a run has a lane and the next one has none, or the other way round.
"""

import contextlib
from pathlib import Path

from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel, Pinned
from appliance.ipc.persistence_table import BUCKET_BYTES, BUCKETS
from appliance.ipc.shared_layout import SharedState

_MAP = "remembered"


def recall(directory: Path, shared: SharedState) -> None:
    """Have the shared memory remember whom the lane remembers that an earlier run has pinned there, if it can be read. Blocks."""
    with contextlib.suppress(EdgeError), contextlib.closing(Pinned(directory)) as pinned:
        of_pin = pinned.maps.get(_MAP)
        if of_pin is not None and (of_pin.entries, of_pin.value_bytes) == (BUCKETS, BUCKET_BYTES):
            shared.persistence[:] = memoryview(of_pin.mapped()).cast("Q")


def hand_over(kernel: LaneKernel, shared: SharedState) -> None:
    """Have the kernel remember whom the shared memory remembers, and go by the kernel's map from now on. No worker is there yet.
    Raises EdgeError."""
    words = memoryview(kernel.maps[_MAP].mapped()).cast("Q")
    words[:] = shared.persistence
    shared.persistence = words
