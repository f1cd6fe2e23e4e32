"""What a process can run out of: memory, disk, file descriptors, local ports."""

import errno
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from appliance.lab import namespaces
from bench.rig.topology import module, output_of
from faults import cgroup
from faults.figures import ALL, NOBODY, Hit
from faults.gateway import API, Gateway, wait_until
from faults.promises import UNNOTICED, Lost, Promise, carried
from faults.rows.row import HOLD_S, NotApplicableError, Row
from faults.site import STREAM_PORT, UDP_PORT, VIP

_VICTIM = 1

_LEFT_BYTES = 256 << 10
"""What the worker may still take, before the sessions come that it has no memory for."""

_SENDERS = 20_000
_OOM_S = 30.0


def _out_of_memory(gateway: Gateway, undo: ExitStack) -> Hit:
    found = cgroup.hierarchy()
    if found is None:
        raise NotApplicableError("no memory controller for cgroups on this machine")
    group = undo.enter_context(cgroup.memory_group(found))
    group.take(gateway.workers()[_VICTIM])
    group.limit(_LEFT_BYTES)
    output_of(module("faults.senders", VIP, str(UDP_PORT), str(_SENDERS)), timeout_s=_OOM_S)
    wait_until("the OOM killer has come", lambda: group.kills() > 0, _OOM_S)
    return Hit(shards=(_VICTIM,))


_CHUNK = bytes(1 << 12)


def _fill(gateway: Gateway, undo: ExitStack) -> Path:
    """Fill the file system of the runtime directory. Returns the file that fills it."""
    filler = gateway.root() / "run" / "appliance" / "filler"
    undo.callback(filler.unlink, missing_ok=True)
    try:
        with filler.open("wb", buffering=0) as stream:
            while stream.write(_CHUNK):
                pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return filler


def _disk_full(gateway: Gateway, undo: ExitStack) -> Hit:
    """Meanwhile an address is removed, rules are flushed and the configuration is read again; all of them write no file."""
    filler = _fill(gateway, undo)
    gateway.run("ip", "address", "del", f"{VIP}/32", "dev", "client0")
    gateway.run("nft", "flush", "table", "ip", "appliance")
    gateway.reload(gateway.config.read_text())
    time.sleep(HOLD_S)
    filler.unlink()
    return NOBODY


def _disk_full_at_start(gateway: Gateway, undo: ExitStack) -> Hit:
    """A crash meanwhile. The director cannot write down what it changes on the host, so it does not start until it can."""
    filler = _fill(gateway, undo)
    starts = int(gateway.unit("starts"))
    gateway.signal(signal.SIGKILL, gateway.director())
    wait_until("the unit has tried twice", lambda: int(gateway.unit("starts")) >= starts + 2)
    filler.unlink(missing_ok=True)
    return ALL


def _descriptors_gone(gateway: Gateway, _: ExitStack) -> Hit:
    """The director can open nothing. Meanwhile it is asked to reload, and somebody calls its API. Afterwards it has as many
    descriptors as before."""
    pid = gateway.director()
    before = _descriptors(pid)
    with ExitStack() as callers, _no_descriptors(pid):
        gateway.reload(gateway.config.read_text())
        for caller in _callers(gateway, _FEW_CALLERS):
            callers.callback(caller.close)
        time.sleep(HOLD_S)
    wait_until("the API answers again", gateway.is_well)
    wait_until("no descriptor is lost", lambda: _descriptors(pid) <= before + _OF_CALLS)
    return NOBODY


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _worker_killed_without_descriptors(gateway: Gateway, _: ExitStack) -> Hit:
    """The director cannot start the next one until it has some."""
    victim = gateway.workers()[_VICTIM]
    with _no_descriptors(gateway.director()):
        gateway.signal(signal.SIGKILL, victim)
        time.sleep(HOLD_S)
    return Hit(shards=(_VICTIM,))


@contextmanager
def _no_descriptors(pid: int) -> Iterator[None]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        _set_limit(pid, (_STANDARD_FILES, before[1]))
        yield
    finally:
        _set_limit(pid, before)


def _set_limit(pid: int, limits: tuple[int, int]) -> None:
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


_CALLERS, _FEW_CALLERS = 1_000, 50
_CALL_S = 1.0
_STANDARD_FILES = 3
_OF_CALLS = 2
"""Descriptors of calls of the API that are just over."""


def _api_flooded(gateway: Gateway, undo: ExitStack) -> Hit:
    """Connections that say nothing, as many as this process may open and more than the API serves."""
    callers = undo.enter_context(ExitStack())
    for caller in _callers(gateway, _CALLERS):
        callers.callback(caller.close)
    time.sleep(HOLD_S)
    callers.close()
    wait_until("the API answers again", gateway.is_well)
    return NOBODY


def _callers(gateway: Gateway, count: int) -> list[socket.socket]:
    """So many connections to the API, or fewer when no more is taken."""

    def call() -> list[socket.socket]:
        found: list[socket.socket] = []
        with suppress(OSError):
            while len(found) < count:
                found.append(socket.create_connection(API, timeout=_CALL_S))
        return found

    return namespaces.call_inside(gateway.site.gateway, call)


_SEVERAL_REFUSALS = 20


def _ports_used_up(gateway: Gateway, undo: ExitStack) -> Hit:
    """The range has one local port for each shard, and clients connect and stay until all of them are refused."""
    lowest, before = gateway.tunable("fullnat_lport_min"), gateway.tunable("fullnat_lport_max")
    undo.callback(gateway.set_tunable, "fullnat_lport_max", before)
    gateway.set_tunable("fullnat_lport_max", lowest + gateway.shards - 1)
    refused = 0
    while refused < _SEVERAL_REFUSALS:
        try:
            undo.callback(socket.create_connection((VIP, STREAM_PORT), timeout=_CALL_S).close)
            refused = 0
        except ConnectionRefusedError:
            refused += 1
    time.sleep(HOLD_S)
    gateway.set_tunable("fullnat_lport_max", before)
    return NOBODY


_SERVED_AGAIN = Promise(Lost.CONCERNED, 10.0, 5.0)
_REFUSED_MEANWHILE = Promise(Lost.NONE, 3.0, 2.0)

ROWS = (
    Row(
        "out-of-memory",
        "a worker out of memory, killed in its cgroup",
        _out_of_memory,
        _SERVED_AGAIN,
        carried(_SERVED_AGAIN),
        is_mended_by_us=True,
    ),
    Row(
        "disk-full",
        "runtime directory full for 3 s, flush and reload meanwhile",
        _disk_full,
        Promise(Lost.NONE, 5.0, 5.0),
    ),
    Row(
        "disk-full-at-start",
        "the director killed while the runtime directory is full",
        _disk_full_at_start,
        _SERVED_AGAIN,
        carried(_SERVED_AGAIN),
    ),
    Row("descriptors-gone", "no descriptors for the director, for 3 s", _descriptors_gone, UNNOTICED),
    Row(
        "no-next-worker",
        "a worker killed while the director has no descriptors",
        _worker_killed_without_descriptors,
        _SERVED_AGAIN,
        carried(_SERVED_AGAIN),
    ),
    Row("api-flooded", f"{_CALLERS:,} connections to the API that say nothing", _api_flooded, UNNOTICED),
    Row("ports-used-up", "no local port free, for 3 s", _ports_used_up, _REFUSED_MEANWHILE),
)
