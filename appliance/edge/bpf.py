"""The kernel's BPF programs and maps.

Everything here raises EdgeError, which names what was tried and what the kernel answered.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from ctypes import byref, c_int, c_uint32, create_string_buffer, sizeof
from functools import cache
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from appliance.edge.errors import EdgeError
from appliance.edge.libbpf import MapInfo, OpenOptions, RunOptions, failed, library

_LOG_BYTES = 1 << 20
_LOG_LINES = 12
"""Of the verifier's log: how many bytes it may have, and how many of its last lines an error shows."""

_FOR_EACH_CPU = frozenset((5, 6))
"""BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY."""

_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")


@cache
def possible_cpus() -> int:
    """How many values a key of a map for each CPU has."""
    *_, last = _POSSIBLE_CPUS.read_text().strip().replace(",", "-").split("-")
    return int(last) + 1


class Descriptor:
    """A file descriptor of a program or a map. It is closed with `close`, or at the end of a `with` block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it. What is pinned, attached or mapped stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def pin(self, path: Path) -> None:
        """Give it a name on a file system of type bpf. It lives on until that is removed. Raises when the name is taken."""
        if answer := library().bpf_obj_pin(self.fd, bytes(path)):
            raise failed(f"pin {path}", answer)


class Program(Descriptor):
    """A loaded program."""

    @property
    def number(self) -> int:
        """The number by which the kernel names it, for instance in a list of filters."""
        info, size = MapInfo(), c_uint32(sizeof(MapInfo))  # that of a program begins in the same way
        if answer := library().bpf_obj_get_info_by_fd(self.fd, byref(info), byref(size)):
            raise failed("ask what a program is like", answer)
        return int(info.id)

    def test_run(self, packet: bytes, context: bytes = b"", *, repeat: int = 1, room: int = 256) -> tuple[int, bytes, int]:
        """Let it judge a packet that nobody sent: its verdict (signed), the packet afterwards, nanoseconds for each of `repeat`
        runs. `context` is the beginning of a `struct __sk_buff`; the packet may grow by `room` bytes."""
        out = create_string_buffer(len(packet) + room)
        options = RunOptions(sz=sizeof(RunOptions), repeat=repeat, data_size_in=len(packet), data_size_out=len(out))
        options.data_in, options.data_out = packet, ctypes.addressof(out)
        if context:
            options.ctx_in, options.ctx_size_in = context, len(context)
        if answer := library().bpf_prog_test_run_opts(self.fd, byref(options)):
            raise failed("run a program on a test packet", answer)
        return c_int(options.retval).value, out.raw[: options.data_size_out], options.duration


class Map(Descriptor):
    """A map. Keys and values are bytes, in the layout of the program that reads them."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info, size = MapInfo(), c_uint32(sizeof(MapInfo))
        if answer := library().bpf_obj_get_info_by_fd(fd, byref(info), byref(size)):
            self.close()
            raise failed("ask what a map is like", answer)
        self.name: str = info.name.decode(errors="replace")
        self.key_bytes: int = info.key_size
        self.value_bytes: int = info.value_size
        self.entries: int = info.max_entries
        self._place_bytes = self.value_bytes
        if info.type in _FOR_EACH_CPU:
            self._place_bytes = -(-self.value_bytes // 8) * 8 * possible_cpus()

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key; None when there is none. A map for each CPU has as many values, see `of_cpus`."""
        value = create_string_buffer(self._place_bytes)
        if answer := library().bpf_map_lookup_elem(self.fd, self._checked(key), value):
            if answer == -errno.ENOENT:
                return None
            raise failed(f"look into map {self.name}", answer)
        return value.raw

    def of_cpus(self, value: bytes) -> list[bytes]:
        """The values of all CPUs, which come as one: each is filled up to a multiple of 8 bytes."""
        stride = len(value) // possible_cpus()
        return [value[at : at + self.value_bytes] for at in range(0, len(value), stride)]

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of a key, or those of all CPUs, whether there is one already or not."""
        if len(value) != self._place_bytes:
            raise EdgeError(f"a value of map {self.name} has {self._place_bytes} bytes and not {len(value)}")
        if answer := library().bpf_map_update_elem(self.fd, self._checked(key), value, 0):
            raise failed(f"write to map {self.name}", answer)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False when it is not there."""
        if answer := library().bpf_map_delete_elem(self.fd, self._checked(key)):
            if answer == -errno.ENOENT:
                return False
            raise failed(f"delete from map {self.name}", answer)
        return True

    def update_all(self, items: Mapping[bytes, bytes]) -> None:
        """Set many values with one call."""
        if not items:
            return
        count = c_uint32(len(items))
        keys, values = b"".join(items), b"".join(items.values())
        if len(keys) != self.key_bytes * len(items) or len(values) != self.value_bytes * len(items):
            raise EdgeError(f"a key of map {self.name} has {self.key_bytes} bytes, a value {self.value_bytes}")
        if answer := library().bpf_map_update_batch(self.fd, keys, values, byref(count), None):
            raise failed(f"write {len(items)} values to map {self.name} ({count.value} were written)", answer)

    def delete_all(self, keys: Sequence[bytes]) -> None:
        """Remove many keys with one call, and with one more for each that is not there; without a call when there are none."""
        if any(len(key) != self.key_bytes for key in keys):
            raise EdgeError(f"a key of map {self.name} has {self.key_bytes} bytes")
        begin = 0
        while begin < len(keys):
            count = c_uint32(len(keys) - begin)
            answer = library().bpf_map_delete_batch(self.fd, b"".join(keys[begin:]), byref(count), None)
            begin += count.value
            if answer == -errno.ENOENT:  # of the key behind those that were deleted
                begin += 1
            elif answer:
                raise failed(f"delete {len(keys)} keys of map {self.name} ({begin} were deleted)", answer)

    def items(self, at_once: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values of a hash or an array. What others write meanwhile may be missed, or come twice."""
        keys, values = create_string_buffer(self.key_bytes * at_once), create_string_buffer(self._place_bytes * at_once)
        position, is_last, is_first = create_string_buffer(max(self.key_bytes, 8)), False, True
        while not is_last:
            count, here = c_uint32(at_once), None if is_first else position
            answer = library().bpf_map_lookup_batch(self.fd, here, position, keys, values, byref(count), None)
            is_last, is_first = bool(answer), False
            if answer and answer != -errno.ENOENT:
                raise failed(f"read map {self.name}", answer)
            some_keys, some_values = keys.raw, values.raw
            for place in range(count.value):
                key_at, value_at = place * self.key_bytes, place * self._place_bytes
                yield some_keys[key_at : key_at + self.key_bytes], some_values[value_at : value_at + self._place_bytes]

    def mapped(self) -> mmap.mmap:
        """The values of a mappable array as memory that the program shares: value after value, each a multiple of 8 bytes."""
        try:
            return mmap.mmap(self.fd, self.value_bytes * self.entries)
        except (OSError, ValueError) as error:
            raise EdgeError(f"cannot map map {self.name} into memory: {error}") from error

    def _checked(self, key: bytes) -> bytes:
        if len(key) != self.key_bytes:
            raise EdgeError(f"a key of map {self.name} has {self.key_bytes} bytes and not {len(key)}")
        return key


class Loaded:
    """A program and its maps, by name, right after they were loaded. `close` closes all descriptors."""

    def __init__(self, program: Program, maps: Mapping[str, Map]) -> None:
        self.program = program
        self.maps = maps

    def close(self) -> None:
        """Close everything. What is neither pinned nor attached is gone afterwards."""
        for descriptor in (self.program, *self.maps.values()):
            descriptor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def load(file: Path, entries: Mapping[str, int], there: Mapping[str, Map] = MappingProxyType({})) -> Loaded:
    """Load the only program of an object file, and make its maps; those in `there`, by name, are used in place of new ones.

    `entries` says for new maps, by name, how many values they have; others have as many as the file says.
    """
    log = create_string_buffer(_LOG_BYTES)
    options = OpenOptions(sz=sizeof(OpenOptions), kernel_log_buf=ctypes.addressof(log), kernel_log_size=len(log))
    handle = library().bpf_object__open_file(bytes(file), byref(options))
    if not handle:
        raise failed(f"read the program {file}")
    try:
        handles = dict(_maps_of(handle))
        if unknown := (entries.keys() | there.keys()) - handles.keys():
            raise EdgeError(f"the program {file} has no map {', '.join(sorted(unknown))}")
        for name, number in entries.items():
            if answer := library().bpf_map__set_max_entries(handles[name], number):
                raise failed(f"set the size of map {name} to {number}", answer)
        for name, of_caller in there.items():
            if answer := library().bpf_map__reuse_fd(handles[name], of_caller.fd):
                raise failed(f"use the map {name} that is there", answer)
        if answer := library().bpf_object__load(handle):
            raise EdgeError(f"{failed(f'load the program {file}', answer)}{_end_of(log.value)}")
        program = library().bpf_object__next_program(handle, None)
        maps = {name: Map(os.dup(library().bpf_map__fd(of_libbpf))) for name, of_libbpf in handles.items()}
        return Loaded(Program(os.dup(library().bpf_program__fd(program))), maps)
    finally:
        library().bpf_object__close(handle)


def _maps_of(handle: int) -> Iterator[tuple[str, int]]:
    """Name and handle of each map of an object."""
    this = library().bpf_object__next_map(handle, None)
    while this:
        yield library().bpf_map__name(this).decode(), this
        this = library().bpf_object__next_map(handle, this)


def _end_of(log: bytes) -> str:
    """The end of the verifier's log, which says what it did not like."""
    lines = log.decode(errors="replace").rstrip().splitlines()[-_LOG_LINES:]
    return "".join(f"\n  {line}" for line in lines)


def pinned_map(path: Path) -> Map:
    """The map that is pinned there."""
    fd: int = library().bpf_obj_get(bytes(path))
    if fd < 0:
        raise failed(f"open {path}", fd)
    return Map(fd)
