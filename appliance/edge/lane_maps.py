"""The maps of the lane as a worker uses them: records and change marks as memory, flows by calls to the kernel.

The flows of several sessions come and go with one call. They are a good part of what a session in the lane costs, so keys and
values are handed to the kernel as they are, without the checks of `edge.bpf`.
"""

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from ctypes import byref, c_uint32
from threading import Lock

from appliance.edge import bpf
from appliance.edge.errors import EdgeError
from appliance.edge.libbpf import library
from appliance.ipc.lane_layout import FLOW_BYTES
from appliance.wire.layout import TOTAL_LENGTH

_ENTRY = struct.Struct("=I")
_VALUES = struct.Struct("=II")
_NO_EXIST = 1
"""BPF_NOEXIST of linux/bpf.h."""

_PATIENCE_S = 1.0
"""A program takes some microseconds, unless its host stops it."""


class KernelLaneMaps:
    """What `sessions.lane.LaneMaps` asks for. The descriptors stay open for as long as this exists."""

    def __init__(self, fds: Sequence[int]) -> None:
        """`fds` are those of the maps `lane_kernel.OF_WORKERS`; they are duplicated. Raises EdgeError."""
        opened = [bpf.Map(os.dup(fd)) for fd in fds]
        sessions, self._flows, changed, rings, outside, latches, homes, lines, clients, remembered, tables, *others = opened
        self._refused, self._proofs = others
        self.entries = sessions.entries
        self.records = memoryview(sessions.mapped())
        self.changed = changed.mapped()
        self.rings = memoryview(rings.mapped())
        self.outside = memoryview(outside.mapped())
        self.latches = memoryview(latches.mapped())
        self.homes, self.lines = memoryview(homes.mapped()), memoryview(lines.mapped())
        self.datagram_clients, self.remembered = memoryview(clients.mapped()), memoryview(remembered.mapped())
        self.lookup_tables = memoryview(tables.mapped())
        for of_memory in (sessions, changed, rings, outside, latches, homes, lines, clients, remembered, tables):
            of_memory.close()
        self._fd = self._flows.fd
        self._update, self._delete = library().bpf_map_update_batch, library().bpf_map_delete_batch
        self._add = library().bpf_map_update_elem
        self._fence = Lock()
        self._count = c_uint32()
        self._by_ref = byref(self._count)

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Wait for programs at work on other CPUs, as `sessions.lane_maps` says."""
        with self._fence:  # to take a lock orders memory on every processor
            until = time.monotonic() + _PATIENCE_S
        while not is_done() and time.monotonic() < until:
            time.sleep(0)

    def insert(self, flows: bytes, entries: Sequence[int]) -> list[int]:
        """Add the flows of sessions, the client's and the real server's for each entry, in the place of what is there under the
        same keys. Returns the entries for which the kernel has no room for both; of those neither is there."""
        if self._update_all(flows, entries):
            return []
        refused = []
        for place, entry in enumerate(entries):
            both = flows[2 * FLOW_BYTES * place : 2 * FLOW_BYTES * (place + 1)]
            if not self._update_all(both, (entry,)):
                self.remove(both)
                refused.append(entry)
        return refused

    def _update_all(self, flows: bytes, entries: Sequence[int]) -> bool:
        self._count.value = 2 * len(entries)
        values = b"".join([_VALUES.pack(2 * entry, 2 * entry + 1) for entry in entries])
        return not self._update(self._fd, flows, values, self._by_ref, None)

    def add_flow(self, flow: bytes, value: int) -> bool:
        """Add one flow, unless it is there; False when it is, or when the kernel has no room for it."""
        return not self._add(self._fd, flow, _ENTRY.pack(value), _NO_EXIST)

    def refuse_source(self, key: bytes, value: bytes) -> None:
        """Write a value of the map `refused_sources`. When the kernel does not take it, datagrams come up as before."""
        with contextlib.suppress(EdgeError):
            self._refused.update(key, value)

    def remove(self, flows: bytes) -> None:
        """Take out these flows, whether or not they are there."""
        self._count.value = len(flows) // FLOW_BYTES
        if self._delete(self._fd, flows, self._by_ref, None):  # it stops at the first one that is not there
            for start in range(0, len(flows), FLOW_BYTES):
                self._flows.delete(flows[start : start + FLOW_BYTES])

    def flows(self) -> Iterator[tuple[bytes, int]]:
        """All flows and their values: the entry times 2, and 1 more for that of a real server."""
        return ((key, int.from_bytes(value, "little")) for key, value in self._flows.items())

    def remove_flow(self, flow: bytes) -> None:
        """Take out one flow, whether or not it is there."""
        self._flows.delete(flow)

    def value_of(self, flow: bytes) -> int | None:
        """The value of a flow of whichever shard, None when it is not there. Raises EdgeError when the kernel cannot be asked."""
        value = self._flows.lookup(flow)
        return None if value is None else int.from_bytes(value, "little")

    def take_proof(self, entry: int) -> bytes | None:
        """Take the packet of an entry that waits for its real server, as `sessions.lane_maps` says. Raises EdgeError."""
        key = _ENTRY.pack(entry)
        value = self._proofs.lookup(key)
        if value is None or not self._proofs.delete(key):  # behind the look: while it is there, nobody changes it
            return None
        return value[: int.from_bytes(value[TOTAL_LENGTH], "big")]

    def proofs(self) -> list[int]:
        """The entries whose packets wait. Raises EdgeError."""
        return [_ENTRY.unpack(key)[0] for key, _ in self._proofs.items()]
