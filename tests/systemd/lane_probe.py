"""What a process may do with the lane, step by step: runs in a unit of the test, and prints what each step met, as JSON.

Arguments: the steps, of "make" (load the program, make and pin its maps), "use" (what a worker and `appliance cleanup` do with
maps that are there), "attach", "remove".
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from appliance.edge import bpffs, lane_attach
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import OF_WORKERS, LaneKernel, Pinned
from appliance.edge.lane_maps import KernelLaneMaps
from appliance.edge.lane_sizes import Sizes
from appliance.ipc.lane_layout import FLOW_BYTES, LEAST_ENTRIES

ROOT, NAME, INTERFACE = Path("/run/appliance/bpf"), "probe", "client0"


def make() -> None:
    LaneKernel.make(bpffs.prepared(ROOT, NAME), Sizes(LEAST_ENTRIES, 16))


def use() -> None:
    pinned = Pinned(ROOT / NAME)
    assert not pinned.missing, pinned.missing
    maps = KernelLaneMaps([pinned.maps[name].fd for name in OF_WORKERS])
    maps.records[0] = maps.records[0]
    assert maps.insert(bytes(FLOW_BYTES) + bytes([1] * FLOW_BYTES), [0]) == []
    assert len(list(maps.flows())) == 2
    maps.remove(bytes(FLOW_BYTES) + bytes([1] * FLOW_BYTES))
    assert pinned.maps["counts"].lookup(bytes(4)) is not None


def attach() -> None:
    kernel = LaneKernel.take_over(Pinned(ROOT / NAME))
    lane_attach.attach(kernel.program.fd, lane_attach.links([INTERFACE])[INTERFACE].index)


def remove() -> None:
    for index in lane_attach.all_indexes():
        lane_attach.detach(index)
    bpffs.remove(ROOT, NAME)
    assert not (ROOT / NAME).exists()


STEPS: tuple[Callable[[], None], ...] = (make, use, attach, remove)

if __name__ == "__main__":
    met = {}
    for step in STEPS:
        if step.__name__ in sys.argv[1:]:
            try:
                step()
                met[step.__name__] = ""
            except (EdgeError, OSError, AssertionError) as error:
                met[step.__name__] = repr(error)[:2000]
    print(json.dumps(met))
