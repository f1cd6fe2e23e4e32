"""How wrk is called, and what its output says."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rig.processes import output_within
from bench.rig.reading import Reading
from bench.rig.topology import HTTP_PORT, BenchError

WRK_THREADS = 2
WRK_CONNECTIONS = 64

ERRORS = "errors"
"""Detail of a reading: how many errors wrk had, of all kinds together."""

_ERRORS = ("connect", "read", "write", "timeout", "status")
_PERCENTILES = (50, 99)
_RESULT = "RESULT "


def wrk_script(targets: Sequence[str]) -> str:
    """Lua for wrk: each thread connects to the next target, and the totals come out as JSON.

    wrk by itself resolves one name and sends every thread to its first address.
    """
    listed = ", ".join(f'"{target}"' for target in targets)
    fields = ", ".join(f'"{name}": %d' for name in ("requests", "duration_us", *(f"p{p}_us" for p in _PERCENTILES), *_ERRORS))
    values = ", ".join((*(f"latency:percentile({p})" for p in _PERCENTILES), *(f"errors.{name}" for name in _ERRORS)))
    return f"""\
local targets = {{ {listed} }}
local threads = 0

function setup(thread)
   thread.addr = wrk.lookup(targets[threads % #targets + 1], "{HTTP_PORT}")[1]
   threads = threads + 1
end

function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format('{_RESULT}{{{fields}}}', summary.requests, summary.duration, {values}))
end
"""


def parse_wrk(output: str) -> Reading:
    """Requests per second from the line that `wrk_script` prints, with `p50_ms` and `p99_ms` of the answers and ERRORS.

    Errors of wrk are trouble, and so is an answer with another status than 2xx or 3xx. Raises BenchError when there is no line.
    """
    lines = [line.removeprefix(_RESULT) for line in output.splitlines() if line.startswith(_RESULT)]
    if not lines:
        raise BenchError(f"wrk printed no result: {output.strip()[-500:]}")
    result: Mapping[str, int] = json.loads(lines[-1])
    errors = ", ".join(f"{result[name]} {name} errors" for name in _ERRORS if result[name])
    return Reading(
        result["requests"] / result["duration_us"] * 1e6,
        errors and f"wrk: {errors}",
        result["requests"],
        {f"p{p}_ms": result[f"p{p}_us"] / 1e3 for p in _PERCENTILES} | {ERRORS: sum(result[name] for name in _ERRORS)},
    )


def _wrk(targets: Sequence[str], seconds: int, directory: Path, *options: str) -> Reading:
    script = directory / "wrk.lua"
    script.write_text(wrk_script(targets))
    sizes = (f"--threads={WRK_THREADS}", f"--connections={WRK_CONNECTIONS}", f"--duration={seconds}s")
    command = ("wrk", *sizes, "--script", str(script), *options, f"http://{targets[0]}:{HTTP_PORT}/")
    return parse_wrk(output_within(command, seconds))


def new_connections(targets: Sequence[str], seconds: int, directory: Path) -> Reading:
    """A connection for each request, closed after it."""
    return _wrk(targets, seconds, directory, "--header", "Connection: close")


def keep_alive_requests(targets: Sequence[str], seconds: int, directory: Path) -> Reading:
    """Requests one after another on connections that stay."""
    return _wrk(targets, seconds, directory)
