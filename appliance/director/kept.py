"""What a run leaves for the next one in the runtime directory, beside its changes on the host: slots, counters, drains, and who
is down.

A stop for good removes them.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from appliance.config.loading import Config
from appliance.director.leftovers import read_own
from appliance.director.plans import Slots
from appliance.director.runtime_files import state_file, write_state
from appliance.edge import shared_memory
from appliance.edge.errors import EdgeError
from appliance.health import drain
from appliance.health.check import Target
from appliance.ipc.shared_layout import LayoutError, SharedState, shape_of, size_bytes
from appliance.model.counters import WORKER_STARTS

log = logging.getLogger("appliance.director")

_LONGEST_BYTES = 1 << 24
_SLOTS, _COUNTERS, _DOWN, _DRAINS = "slots", "counters", "down", "drains"


def kept_slots(config: Config) -> Slots:
    """The slots of the run before, as long as all real servers of the configuration find a place; else new ones.

    The kernel counts by slot and has a real server's MTU by slot, so a real server must not change its slot while sessions go on.
    """
    slots = _read_slots()
    if slots is not None and slots.have_room_for(config):
        return slots
    with contextlib.suppress(OSError):
        state_file(_COUNTERS).unlink()  # they are by slot
    return Slots.sized_for(config)


def _read_slots() -> Slots | None:
    file = state_file(_SLOTS)
    try:
        written = json.loads(read_own(file, _LONGEST_BYTES))
        capacity = _int(written["capacity"])
        taken = {(str(name), str(address), _int(port)): _int(slot) for name, address, port, slot in written["slots"]}
        if len(set(taken.values())) != len(taken) or not all(0 <= slot < capacity for slot in taken.values()):
            raise ValueError("a slot is taken twice, or is beyond the capacity")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s: cannot be used (%s); real servers get new slots", file, str(error)[:200])
        return None
    return Slots(capacity, taken)


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return value


def keep_slots(slots: Slots) -> None:
    """Write the slots down. Raises EdgeError when that is not possible."""
    taken = [[*key, slot] for key, slot in slots.taken.items()]
    text, file = json.dumps({"capacity": slots.capacity, "slots": taken}), state_file(_SLOTS)
    with contextlib.suppress(OSError):
        if read_own(file, _LONGEST_BYTES) == text:
            return  # also a full file system can be read
    write_state(file, text)


def kept_down() -> frozenset[Target]:
    """The real servers that were down in the run before, when it was not stopped for good."""
    file = state_file(_DOWN)
    try:
        written = json.loads(read_own(file, _LONGEST_BYTES))
        return frozenset(Target(str(service), str(address), _int(port)) for service, address, port in written)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s: cannot be used (%s); real servers count as up until they are checked", file, str(error)[:200])
        return frozenset()


def keep_down(down: Iterable[Target]) -> None:
    """Write down which real servers are down. Raises EdgeError when that is not possible."""
    write_state(state_file(_DOWN), json.dumps(sorted(down)))


def kept_drains(now: float) -> dict[Target, drain.Drain]:
    """The drains of the run before, when it was not stopped for good. `now` is in seconds of the monotonic clock."""
    file = state_file(_DRAINS)
    try:
        return drain.from_rows(json.loads(read_own(file, _LONGEST_BYTES)), now)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.error("%s: cannot be used (%s); no real server is drained", file, str(error)[:200])
        return {}


def keep_drains(drains: Mapping[Target, drain.Drain]) -> None:
    """Write the drains down. Raises EdgeError when that is not possible."""
    write_state(state_file(_DRAINS), json.dumps(drain.as_rows(drains)))


class Kept(NamedTuple):
    """Slots and shared memory of a run."""

    slots: Slots
    shared_fd: int
    shared: SharedState

    @classmethod
    def anew(cls, config: Config) -> "Kept":
        """Those of a run that nothing is left for, and that leaves nothing."""
        slots, shards = Slots.sized_for(config), config.gateway.shards
        fd = shared_memory.create(size_bytes(shards, slots.capacity))
        return cls(slots, fd, SharedState.create(shared_memory.attach(fd), shards, slots.capacity))

    @classmethod
    def from_before(cls, config: Config) -> "Kept":
        """Those that the run before has left, as far as they can be used."""
        slots = kept_slots(config)
        return cls(slots, *kept_memory(config.gateway.shards, slots.capacity))


def kept_memory(shards: int, destinations: int) -> tuple[int, SharedState]:
    """Shared memory that goes on counting where the run before ended: its file descriptor, and the views into it.

    Where no file can be used, it is memory without a name, and totals start anew with the next run.
    """
    file, size = state_file(_COUNTERS), size_bytes(shards, destinations)
    try:
        earlier = shared_memory.read_file(file)
        fd = shared_memory.create_file(file, size)
    except EdgeError as error:
        log.warning("counters will not outlive this run: %s", error)
        earlier, fd = None, shared_memory.create(size)
    shared = SharedState.create(shared_memory.attach(fd), shards, destinations)
    if earlier is not None:
        _count_on(shared, earlier)
    return fd, shared


def _count_on(shared: SharedState, earlier: memoryview) -> None:
    shape = shape_of(earlier)
    try:
        if shape is None:
            raise LayoutError("it is not laid out")
        shared.count_on_from(SharedState(earlier, shape.shards, shape.destinations))
        for shard in range(shared.shards):
            shared.table(shard, "queue")[WORKER_STARTS] = 0  # one that is greater than 1 says that a worker has died
    except LayoutError as error:
        log.warning("counters start anew: %s", error)


def forget() -> None:
    """Remove all of it."""
    for name in (_SLOTS, _COUNTERS, _DOWN, _DRAINS):
        state_file(name).unlink(missing_ok=True)
