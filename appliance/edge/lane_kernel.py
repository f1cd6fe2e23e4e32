"""The lane in the kernel: its program, and its maps with their pins. `ipc.lane_layout` says what is in the maps.

A map lives as long as a process, a program or a pin holds it. The pins hold the maps while no process is there; the program is
held by the filters it is attached with, and is loaded again by every process that takes the maps over.
"""

import contextlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from appliance.edge import bpf
from appliance.edge.errors import EdgeError
from appliance.edge.lane_admissions import LaneAdmissions
from appliance.edge.lane_latches import LaneLatches
from appliance.edge.lane_object import object_file
from appliance.edge.lane_sizes import Settings, Sizes
from appliance.ipc import lane_layout
from appliance.ipc.admission_layout import RINGS
from appliance.ipc.lane_layout import (
    CHANGED_PAGE_BYTES,
    COOKIE_KEY,
    COOKIE_KEYS,
    LATCHES,
    LEAST_ENTRIES,
    MOST_ENTRIES,
    OUTSIDE,
    REAL_SERVER,
    SETTINGS,
    TRAFFIC,
)
from appliance.ipc.session_record import RECORD_BYTES, which_are_used
from appliance.ipc.session_record import VERSION as RECORD_VERSION
from appliance.model.lane_counters import LANE_COUNTERS

OF_WORKERS = (
    "sessions", "flows", "changed", "rings", "outside", "latches", "homes", "lines", "datagram_clients", "remembered",
    "lookup_tables", "refused_sources", "proofs",
)  # fmt: skip
"""The maps that a worker uses, in the order in which it is given their descriptors."""

PINNED = (*OF_WORKERS, "settings", "real_servers", "interfaces", "tcp_states", "traffic", "counts")
"""The maps that outlive processes. Others are written anew by each director, before the program is attached."""

_INDEX = struct.Struct("=I")
_COUNT = struct.Struct("=Q")


class LaneKernel:
    """The program and the maps. Whoever has it closes it; what is pinned and attached stays."""

    def __init__(self, directory: Path, program: bpf.Program, maps: Mapping[str, bpf.Map]) -> None:
        self.program = program
        self.maps = maps
        self._directory = directory
        self._settings = memoryview(maps["settings"].mapped())
        self._real_servers = memoryview(maps["real_servers"].mapped())
        self._cookie_keys = memoryview(maps["cookie_keys"].mapped())
        self.admissions, self.latches = LaneAdmissions(maps), LaneLatches(maps)
        self.records = memoryview(maps["sessions"].mapped())
        """All records, RECORD_BYTES each; shared with the program."""

    @classmethod
    def make(cls, directory: Path, sizes: Sizes) -> "LaneKernel":
        """A lane that is closed and carries nothing yet, pinned in `directory`. Raises EdgeError with the kernel's reason."""
        kernel = cls._of(directory, bpf.load(object_file(), sizes.of_maps), sizes.entries)
        kernel.pin_again()
        return kernel

    @classmethod
    def moved(cls, pinned: "Pinned", records: bytes, slots: int) -> "LaneKernel":
        """A lane that is closed, with these records, in the place of the pinned one. Raises EdgeError with the kernel's reason.

        The pins of the old maps stay until the new ones are complete, so that nothing is lost when the kernel refuses them.
        """
        sizes = Sizes(len(records) // RECORD_BYTES, slots)
        kernel = cls._of(pinned.directory, bpf.load(object_file(), sizes.of_maps), sizes.entries)
        kernel.records[:] = records
        pinned.unpin()
        kernel.pin_again()
        return kernel

    @classmethod
    def take_over(cls, pinned: "Pinned") -> "LaneKernel":
        """The lane with these maps, and with the program of this version. Raises EdgeError with the kernel's reason."""
        return cls._of(pinned.directory, bpf.load(object_file(), {}, pinned.maps))

    @classmethod
    def _of(cls, directory: Path, loaded: bpf.Loaded, new_entries: int = 0) -> "LaneKernel":
        """The lane with a program and its maps, which are new when `new_entries` says how many entries they have."""
        try:
            kernel = cls(directory, loaded.program, loaded.maps)
            if new_entries:
                kernel.put_settings(Settings(lane_layout.VERSION, new_entries, lane_layout.layout_hash()))
            kernel.admissions.close()
            kernel.latches.close()
            # Also into maps that were there: the version that made them may have had other transitions.
            loaded.maps["tcp_states"].update(_INDEX.pack(0), lane_layout.tcp_states())
            loaded.maps["outside"].update(_INDEX.pack(0), bytes(OUTSIDE.size))
        except BaseException:
            loaded.close()
            raise
        return kernel

    @property
    def sizes(self) -> Sizes:
        """How large the maps are."""
        return Sizes(self.maps["sessions"].entries, self.maps["real_servers"].entries)

    @property
    def settings(self) -> Settings:
        """What the program goes by at this moment."""
        return Settings(*SETTINGS.unpack_from(self._settings))

    def put_settings(self, settings: Settings) -> None:
        """Have the program go by these."""
        self._settings[: SETTINGS.size] = SETTINGS.pack(*settings)

    def put_real_server(self, slot: int, mtu: int, flags: int) -> None:
        """What the program has to know of the real server in a slot: MTU of its route in bytes, `lane_layout.RealServerFlags`."""
        REAL_SERVER.pack_into(self._real_servers, slot * REAL_SERVER.size, mtu, flags)

    def real_server(self, slot: int) -> tuple[int, int]:
        """MTU and flags of a slot."""
        mtu, flags = REAL_SERVER.unpack_from(self._real_servers, slot * REAL_SERVER.size)
        return mtu, flags

    def put_of_services(self, name: str, values: Mapping[bytes, bytes]) -> None:
        """Write values of the map `name`, "front_doors", "stray_rules" or "datagram_rules". Raises EdgeError."""
        self.maps[name].update_all(values)

    def remove_of_services(self, name: str, keys: Sequence[bytes]) -> None:
        """Take values out of the same, those that are there. Raises EdgeError."""
        self.maps[name].delete_all(keys)

    def put_cookie_key(self, epoch: int, state: Sequence[int]) -> None:
        """Give the program a key, see `lane_layout.COOKIE_KEY`. While it is written there is none in its place."""
        start = epoch % COOKIE_KEYS * COOKIE_KEY.size
        COOKIE_KEY.pack_into(self._cookie_keys, start, 0, *state)
        COOKIE_KEY.pack_into(self._cookie_keys, start, epoch + 1, *state)

    def put_interfaces(self, sides: Mapping[int, int]) -> None:
        """By the index of each interface: its `lane_layout.InterfaceFlags`. Others carry nothing."""
        interfaces = self.maps["interfaces"]
        there = {_INDEX.unpack(key)[0]: value[0] for key, value in interfaces.items()}
        for index in there.keys() - sides.keys():
            interfaces.delete(_INDEX.pack(index))
        for index, side in sides.items():
            if there.get(index) != side:
                interfaces.update(_INDEX.pack(index), bytes([side]))

    def traffic(self, slots: Iterable[int]) -> dict[int, tuple[int, int, int, int]]:
        """By slot: what was carried inbound and outbound, as packets, packets, bytes, bytes."""
        found = {}
        for slot in slots:
            inbound, outbound = (self._of_direction(2 * slot + direction) for direction in (0, 1))
            found[slot] = (inbound[0], outbound[0], inbound[1], outbound[1])
        return found

    def forget_traffic(self, slot: int) -> None:
        """Begin to count a slot from nothing; no session has it. Raises EdgeError."""
        traffic = self.maps["traffic"]
        for direction in (0, 1):
            key = _INDEX.pack(2 * slot + direction)
            traffic.update(key, bytes(len(traffic.lookup(key) or b"")))

    def _of_direction(self, place: int) -> tuple[int, int]:
        values = [TRAFFIC.unpack(value) for value in _of_cpus(self.maps["traffic"], place)]
        return sum(packets for packets, _ in values), sum(size for _, size in values)

    def counts(self) -> list[int]:
        """The numbers of LANE_COUNTERS, in their order."""
        places = range(len(LANE_COUNTERS))
        return [sum(_COUNT.unpack(value)[0] for value in _of_cpus(self.maps["counts"], place)) for place in places]

    def entries_in_use(self) -> int:
        """How many records there are."""
        used = which_are_used(self.records)
        return len(used) - used.count(0)

    def forget_worker(self, shard: int, shards: int) -> None:
        """Close what the worker of one of so many shards has opened."""
        self.admissions.close(range(shard, RINGS, shards))
        self.latches.close(range(shard, LATCHES, shards))

    def worker_fds(self) -> tuple[int, ...]:
        """The descriptors of the maps OF_WORKERS."""
        return tuple(self.maps[name].fd for name in OF_WORKERS)

    def missing_pins(self) -> list[str]:
        """The maps whose pins somebody has removed."""
        return [name for name in PINNED if not (self._directory / name).exists()]

    def pin_again(self) -> None:
        """Pin the maps that are not pinned. Raises EdgeError."""
        for name in self.missing_pins():
            self.maps[name].pin(self._directory / name)

    def unpin(self) -> None:
        """Remove the pins. Raises EdgeError."""
        _unpin(self._directory)

    def close(self) -> None:
        """Close all descriptors."""
        for view in (self._settings, self._real_servers, self._cookie_keys, self.records):
            view.release()
        self.admissions.release()
        self.latches.release()
        for descriptor in (self.program, *self.maps.values()):
            descriptor.close()


def _of_cpus(of_cpus: bpf.Map, place: int) -> list[bytes]:
    """The values of a place in an array for each CPU."""
    values = of_cpus.lookup(_INDEX.pack(place))
    return [] if values is None else of_cpus.of_cpus(values)


class Pinned:
    """What is pinned in a directory, before it is known whether it can be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.maps: dict[str, bpf.Map] = {}
        self.missing: list[str] = []
        for name in PINNED:
            try:
                self.maps[name] = bpf.pinned_map(directory / name)
            except EdgeError:
                self.missing.append(name)

    def why_not(self) -> str:
        """Why this version of the appliance cannot go on with these maps; empty when it can."""
        if self.missing:
            return f"the map {self.missing[0]} is not there"
        if self.maps["settings"].value_bytes != SETTINGS.size:
            return f"their settings have {self.maps['settings'].value_bytes} bytes and not {SETTINGS.size}"
        settings = Settings(*SETTINGS.unpack(self.maps["settings"].lookup(_INDEX.pack(0)) or bytes(SETTINGS.size)))
        if settings.version != lane_layout.VERSION or settings.layout_hash != lane_layout.layout_hash():
            return (
                f"they have version {settings.version} ({settings.layout_hash.hex()}) of their layout and not "
                f"{lane_layout.VERSION} ({lane_layout.layout_hash().hex()})"
            )
        sizes = Sizes(self.maps["sessions"].entries, self.maps["real_servers"].entries)
        if settings.entries != sizes.entries or sizes.entries % CHANGED_PAGE_BYTES:
            return f"they have {sizes.entries} entries and say {settings.entries}"
        for name, number in sizes.of_maps.items():
            if self.maps[name].entries != number:
                return f"the map {name} has {self.maps[name].entries} values and not {number}"
        return ""

    def why_not_for(self, slots: int, slots_are_new: bool) -> str:
        """The same for a run with so many places for real servers, which are others than before when they are new."""
        there = self.maps["real_servers"].entries
        if there != slots:
            return f"they have places for {there} real servers and not {slots}"
        return "real servers have other places now" if slots_are_new else ""

    def records(self) -> memoryview | None:
        """All records, where they can be read at all: each one still says which version it has."""
        sessions = self.maps.get("sessions")
        if sessions is None or sessions.value_bytes != RECORD_BYTES:
            return None
        with contextlib.suppress(EdgeError):
            return memoryview(sessions.mapped())
        return None

    def copied_records(self) -> bytes | None:
        """A copy of all records, when this version can read every one of them, whatever the other maps are; else None.

        The filters must be off, or a program would go on writing to the originals.
        """
        records = self.records()
        if records is None or len(records) // RECORD_BYTES not in range(LEAST_ENTRIES, MOST_ENTRIES + 1, CHANGED_PAGE_BYTES):
            return None
        copy = bytes(records)
        records.release()
        versions = set(memoryview(copy).cast("H")[:: RECORD_BYTES // 2])
        return copy if versions <= {0, RECORD_VERSION} else None

    def unpin(self) -> None:
        """Close the maps and remove the pins. Raises EdgeError."""
        self.close()
        _unpin(self.directory)

    def close(self) -> None:
        """Close the maps; what is pinned stays."""
        for of_pin in self.maps.values():
            of_pin.close()


def _unpin(directory: Path) -> None:
    try:
        for name in PINNED:
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise EdgeError(f"cannot remove {error.filename}: {error.strerror}") from error
