"""Processes that are killed, stopped or started again."""

import signal
import time
from contextlib import ExitStack

from bench.rig.topology import BenchError
from faults.figures import ALL, NOBODY, Hit
from faults.gateway import Gateway, wait_until
from faults.promises import UNNOTICED, Lost, Promise, carried
from faults.rows.row import HOLD_S, Row

_VICTIM = 1
"""The shard whose worker breaks."""

_WATCHDOG_S = 30.0
"""By then, a worker that does nothing has been killed."""

_ONE_PROCESS = Promise(Lost.CONCERNED, 5.0, 5.0)
"""The director starts the next worker."""

_WHOLE_SERVICE = Promise(Lost.CONCERNED, 10.0, 5.0)
"""The unit waits for two seconds before it starts the next director."""

_TOLD = _WHOLE_SERVICE._replace(told=True)
"""The director has the time to tell both ends."""

_BY_WATCHDOG = Promise(Lost.CONCERNED, 25.0, 5.0)
_PAUSED = Promise(Lost.NONE, 5.0, 10.0)


def _worker_killed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.signal(signal.SIGKILL, gateway.workers()[_VICTIM])
    return Hit(shards=(_VICTIM,))


def _workers_killed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.signal(signal.SIGKILL, *gateway.workers())
    return ALL


def _director_killed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.signal(signal.SIGKILL, gateway.director())
    return ALL


def _all_killed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.signal(signal.SIGKILL, *gateway.processes())
    return ALL


def _restarted(gateway: Gateway, _: ExitStack) -> Hit:
    if gateway.unit("restart") != "ok":
        raise BenchError("the unit did not restart")
    return ALL


def _stopped(gateway: Gateway, _: ExitStack) -> Hit:
    for command in ("stop", "start"):
        if gateway.unit(command) != "ok":
            raise BenchError(f"the unit did not {command}")
    return ALL


def _worker_stopped(gateway: Gateway, undo: ExitStack) -> Hit:
    victim = gateway.workers()[_VICTIM]
    undo.callback(gateway.signal, signal.SIGCONT, victim)
    gateway.signal(signal.SIGSTOP, victim)
    wait_until("the stopped worker is replaced", lambda: _shard(gateway)["pid"] != victim, _WATCHDOG_S)
    return Hit(shards=(_VICTIM,))


def _shard(gateway: Gateway) -> dict[str, object]:
    shard: dict[str, object] = gateway.health()["shards"][_VICTIM]
    return shard


def _worker_paused(gateway: Gateway, undo: ExitStack) -> Hit:
    _pause(gateway, undo, gateway.workers()[_VICTIM])
    return NOBODY


def _director_paused(gateway: Gateway, undo: ExitStack) -> Hit:
    _pause(gateway, undo, gateway.director())
    return NOBODY


def _pause(gateway: Gateway, undo: ExitStack, pid: int) -> None:
    undo.callback(gateway.signal, signal.SIGCONT, pid)
    gateway.signal(signal.SIGSTOP, pid)
    time.sleep(HOLD_S)
    gateway.signal(signal.SIGCONT, pid)


ROWS = (
    Row("worker-killed", "kill -9 of a worker", _worker_killed, _ONE_PROCESS, carried(_ONE_PROCESS)),
    Row("workers-killed", "kill -9 of all workers", _workers_killed, _ONE_PROCESS, carried(_ONE_PROCESS)),
    Row("director-killed", "kill -9 of the director", _director_killed, _WHOLE_SERVICE, carried(_WHOLE_SERVICE)),
    Row("all-killed", "kill -9 of every process", _all_killed, _WHOLE_SERVICE, carried(_WHOLE_SERVICE)),
    Row("restarted", "systemctl restart", _restarted, _TOLD, carried(_WHOLE_SERVICE), is_mended_by_us=True),
    Row("stopped", "systemctl stop, then start", _stopped, _TOLD),
    Row(
        "worker-stopped",
        "SIGSTOP of a worker, for good",
        _worker_stopped,
        _BY_WATCHDOG,
        carried(_BY_WATCHDOG),
        is_mended_by_us=True,
    ),
    Row("worker-paused", "SIGSTOP of a worker, for 3 s", _worker_paused, _PAUSED, carried(_PAUSED)),
    Row("director-paused", "SIGSTOP of the director, for 3 s", _director_paused, UNNOTICED),
)
