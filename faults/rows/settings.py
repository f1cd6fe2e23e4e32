"""What an operator can get wrong: the configuration, the clock, a second appliance."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.rig.topology import BenchError, inside, module
from faults.figures import NOBODY, Hit
from faults.gateway import Gateway, wait_until
from faults.promises import UNNOTICED
from faults.rows.row import HOLD_S, NotApplicableError, Row

GARBAGE = (
    b"",
    b"\x00\xff\xfe not a text",
    b"[gateway\nshards = ",
    b"[gateway]\nshards = -1\n",
    b"[[service]]\nname = 'x'\nvip = '203.0.113.10'\nport = 99999\n",
    b"x = " + b"[" * 5_000,
    b"# " + b"x" * (2 << 20),
)
"""Files that are no configuration."""


def _garbage(gateway: Gateway, undo: ExitStack) -> Hit:
    before = gateway.config.read_text()
    undo.callback(gateway.config.write_text, before)
    for number, garbage in enumerate(GARBAGE):
        said = gateway.reload(garbage)
        if not said.startswith("reload refused"):
            raise BenchError(f"garbage {number} was taken: {said}")
    return NOBODY


RELOADS = 1_000


def _reloads(gateway: Gateway, undo: ExitStack) -> Hit:
    before = gateway.config.read_text()
    undo.callback(gateway.reload, before)
    for number in range(RELOADS):
        said = gateway.reload(f"{before}weight = {number % 7}\n")
        if not said.startswith("configuration read again"):
            raise BenchError(f"reload {number}: {said}")
    return NOBODY


_LIBRARIES = tuple(Path("/usr/lib").glob("*-linux-gnu/faketime/libfaketimeMT.so.1"))
"""The one for programs with threads."""

_JUMPS = (10, -10)
"""Years of 365 days."""


_SLEEP = """\
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""Python sleeps until a time of the monotonic clock, and libfaketime 0.9.10 makes that time an invalid one."""


def _clock_file(gateway: Gateway) -> Path:
    return gateway.site.directory / "clock"


def _with_own_clock(gateway: Gateway, undo: ExitStack) -> None:
    """Start the appliance anew with a wall clock that can be set; that of the machine is nobody's to move. The clocks that only
    go on are those of the machine."""
    if not _LIBRARIES:
        raise NotApplicableError("libfaketime is not installed")
    clock = _clock_file(gateway)
    clock.write_text("+0\n")
    own_modules = gateway.site.directory / "modules"
    own_modules.mkdir(exist_ok=True)
    (own_modules / "sitecustomize.py").write_text(_SLEEP)
    environment = {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, threads that wait for each other take a hundred times as long
        "FAKETIME_NO_CACHE": "1",
        "PYTHONPATH": str(own_modules),
    }
    undo.callback(_start_with, gateway, {})
    _start_with(gateway, environment)


def _start_with(gateway: Gateway, environment: dict[str, str]) -> None:
    gateway.set_environment(environment)
    gateway.unit("restart")
    wait_until("the appliance is well", gateway.is_well)


def _clock_jumps(gateway: Gateway, _: ExitStack) -> Hit:
    """After each jump a reload, whose line in the log shows which time it is for the director."""
    for years in _JUMPS:
        _clock_file(gateway).write_text(f"{years * 365:+d}d\n")
        before = len(gateway.log())
        gateway.reload(gateway.config.read_text())
        expected = str((datetime.now(UTC) + timedelta(days=years * 365)).year)
        if not any(line.startswith(expected) for line in gateway.log()[before:]):
            raise BenchError(f"the clock of the director did not jump to {expected}")
        time.sleep(HOLD_S)
    return NOBODY


_REFUSAL_S = 20.0


def _second_appliance(gateway: Gateway, undo: ExitStack) -> Hit:
    """It finds the lock of the first."""
    _try_second(gateway, undo, gateway.config.read_text(), Path("/run/appliance"))
    return NOBODY


def _stranger(gateway: Gateway, undo: ExitStack) -> Hit:
    """It has a runtime directory, queues and an API of its own, so it finds no lock, and nothing in use."""
    text = gateway.config.read_text()
    own = text.replace("[gateway]\n", f"[gateway]\nqueue_base = {_OTHER_QUEUES}\n") + _OTHER_API
    _try_second(gateway, undo, own, _scratch(gateway, undo))
    return NOBODY


_OTHER_QUEUES = 100
_OTHER_API = '[api]\nlisten = ["127.0.0.1:9381"]\n'


def _scratch(gateway: Gateway, undo: ExitStack) -> Path:
    directory = gateway.site.directory / "second"
    directory.mkdir(mode=0o700)
    undo.callback(shutil.rmtree, directory)
    return directory


def _try_second(gateway: Gateway, undo: ExitStack, text: str, runtime_directory: Path) -> None:
    """Start one that is refused. Raises BenchError when it is not."""
    config = gateway.site.directory / "second.toml"
    config.write_text(text)
    undo.callback(config.unlink)
    in_same_files = ("nsenter", f"--target={gateway.director()}", "--mount", "--")
    command = (*in_same_files, *module("appliance", "run", "--config", str(config), "--shards", str(gateway.shards)))
    environment = os.environ | {"RUNTIME_DIRECTORY": str(runtime_directory)}
    entered = inside(gateway.site.gateway, *command)
    with subprocess.Popen(entered, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as second:
        try:
            _, said = second.communicate(timeout=_REFUSAL_S)
        except subprocess.TimeoutExpired:
            second.terminate()
            second.communicate()
            raise BenchError("a second appliance ran") from None
    if not second.returncode or _REFUSAL not in said:
        raise BenchError(f"a second appliance was not refused as such: {said.strip()[-300:]}")


_REFUSAL = "another appliance"


ROWS = (
    Row("garbage", "garbage in the configuration, reloaded", _garbage, UNNOTICED),
    Row("reloads", f"{RELOADS:,} reloads", _reloads, UNNOTICED),
    Row("clock-jumps", "wall clock ten years on, then ten years back", _clock_jumps, UNNOTICED, prepare=_with_own_clock),
    Row("second-appliance", "a second appliance in the same network", _second_appliance, UNNOTICED),
    Row("stranger", "the same with directories, queues and an API of its own", _stranger, UNNOTICED),
)
