"""The load generators: how wrk and iperf3 are called, and what their output says."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.rig.topology import BULK_PORT, HTTP_PORT, BenchError

WRK_THREADS = 2
WRK_CONNECTIONS = 64

_WRK_ERRORS = ("connect", "read", "write", "timeout", "status")
_WRK_RESULT = "RESULT "
_START_AND_END_S = 15.0


class Reading(NamedTuple):
    """One figure of one measurement. `trouble` says what went wrong during it; empty when nothing did."""

    value: float
    trouble: str = ""

    def with_trouble(self, more: str) -> "Reading":
        """The same figure with one more thing that went wrong."""
        return self._replace(trouble="; ".join(filter(None, (self.trouble, more))))


class Figure(NamedTuple):
    """What is measured. `measure` takes the addresses to connect to, seconds, and a directory for scratch files."""

    name: str
    title: str
    decimals: int
    is_bulk: bool
    measure: Callable[[Sequence[str], int, Path], Reading]


def wrk_script(targets: Sequence[str]) -> str:
    """Lua for wrk: each thread connects to the next target, and the totals come out as JSON.

    wrk by itself resolves one name and sends every thread to its first address.
    """
    listed = ", ".join(f'"{target}"' for target in targets)
    fields = ", ".join(f'"{name}": %d' for name in ("requests", "duration_us", *_WRK_ERRORS))
    errors = ", ".join(f"errors.{name}" for name in _WRK_ERRORS)
    return f"""\
local targets = {{ {listed} }}
local threads = 0

function setup(thread)
   thread.addr = wrk.lookup(targets[threads % #targets + 1], "{HTTP_PORT}")[1]
   threads = threads + 1
end

function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format('{_WRK_RESULT}{{{fields}}}', summary.requests, summary.duration, {errors}))
end
"""


def parse_wrk(output: str) -> Reading:
    """Requests per second from the line that `wrk_script` prints. Raises BenchError when there is none."""
    lines = [line.removeprefix(_WRK_RESULT) for line in output.splitlines() if line.startswith(_WRK_RESULT)]
    if not lines:
        raise BenchError(f"wrk printed no result: {output.strip()[-500:]}")
    result: Mapping[str, int] = json.loads(lines[-1])
    errors = ", ".join(f"{result[name]} {name} errors" for name in _WRK_ERRORS if result[name])
    return Reading(result["requests"] / result["duration_us"] * 1e6, errors and f"wrk: {errors}")


def parse_iperf3(output: str) -> Reading:
    """Gbit/s that arrived, from iperf3's JSON; 0 and the reason when iperf3 reports an error. Raises BenchError for no JSON."""
    try:
        result = json.loads(output)
    except ValueError as error:
        raise BenchError(f"iperf3 printed no JSON: {output.strip()[-500:]}") from error
    if "error" in result:
        return Reading(0.0, f"iperf3: {result['error']}")
    return Reading(result["end"]["sum_received"]["bits_per_second"] / 1e9)


def _wrk(targets: Sequence[str], seconds: int, directory: Path, *options: str) -> Reading:
    script = directory / "wrk.lua"
    script.write_text(wrk_script(targets))
    sizes = (f"--threads={WRK_THREADS}", f"--connections={WRK_CONNECTIONS}", f"--duration={seconds}s")
    return parse_wrk(
        _output("wrk", *sizes, "--script", str(script), *options, f"http://{targets[0]}:{HTTP_PORT}/", seconds=seconds)
    )


def new_connections(targets: Sequence[str], seconds: int, directory: Path) -> Reading:
    """A connection for each request, closed after it."""
    return _wrk(targets, seconds, directory, "--header", "Connection: close")


def keep_alive_requests(targets: Sequence[str], seconds: int, directory: Path) -> Reading:
    """Requests one after another on connections that stay."""
    return _wrk(targets, seconds, directory)


def _iperf3(target: str, seconds: int, *options: str) -> Reading:
    arguments = ("--client", target, "--port", str(BULK_PORT), "--time", str(seconds), "--json", *options)
    return parse_iperf3(_output("iperf3", *arguments, seconds=seconds))


def bulk_to_server(targets: Sequence[str], seconds: int, _directory: Path) -> Reading:
    """One TCP stream, sent by the client."""
    return _iperf3(targets[0], seconds)


def bulk_from_server(targets: Sequence[str], seconds: int, _directory: Path) -> Reading:
    """One TCP stream, sent by the real server."""
    return _iperf3(targets[0], seconds, "--reverse")


def _output(*command: str, seconds: int) -> str:
    # A failing iperf3 explains itself in its JSON, so the exit code says nothing more.
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + _START_AND_END_S)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end within {error.timeout:.0f} s") from error
    return done.stdout or done.stderr


FIGURES = (
    Figure("new_connections_per_s", "new connections/s", 0, False, new_connections),
    Figure("keep_alive_requests_per_s", "keep-alive requests/s", 0, False, keep_alive_requests),
    Figure("gbit_per_s_to_server", "Gbit/s to server", 2, True, bulk_to_server),
    Figure("gbit_per_s_from_server", "Gbit/s from server", 2, True, bulk_from_server),
)
