"""What SYNPROXY costs big transfers: `python -m bench.transfers` as root, for uploads and downloads.

One lab, two services on the same VIP to the same real servers, one of them behind SYNPROXY. Each round makes one transfer
through either, in turns who goes first, so that whatever else the machine does meets both alike. A round's ratio is the proxied
speed by the other; a window in the wrong shift, for instance, would show as uploads at a fraction of it.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from appliance.lab import namespaces
from bench.rig.program import run_in_lab
from bench.rig.topology import LAB_CONFIG, REAL_SERVERS, VIPS, BenchError, Site

_PORTS = {"proxied": 80, "plain": 8000}
_SYNPROXY = {"proxied": "true", "plain": "false"}
_SERVER_PORT = 8080
_CHUNK = bytes(1 << 20)
_MIB = len(_CHUNK)
_SILENCE_TIMEOUT_S = 60.0
_SETTLE_S = 0.1
"""Before and after each transfer: the last packets of one must not be counted for the next."""

_UTIME, _STIME = 11, 12
"""Places in /proc/PID/stat behind the command's name, see proc(5)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 measured, 1 a transfer failed, others as `appliance lab` has them."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m bench.transfers", description="Compare big transfers.")
    parser.add_argument("--rounds", type=int, metavar="N", default=9, help="default 9")
    parser.add_argument("--mebibytes", type=int, metavar="N", default=128, help="of each transfer; default 128")
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if not options.inside_lab:
        return _make_lab(given)
    try:
        for transfer in (upload, download):
            print(_compared(transfer, options.rounds, options.mebibytes), flush=True)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _make_lab(given: Sequence[str]) -> int:
    """Put up a lab of two shards whose command is this program again."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "lvs.toml")
        config.write_text(LAB_CONFIG.read_text().partition("[[service]]")[0] + "".join(map(_service, _PORTS)))
        return run_in_lab("bench.transfers", given, 2, config=config)


def _service(name: str) -> str:
    head = f'\n[[service]]\nname = "{name}"\nvip = "{VIPS[0]}"\nport = {_PORTS[name]}\nsynproxy = {_SYNPROXY[name]}\n'
    servers = (f'\n[[service.real_server]]\naddress = "{address}"\nport = {_SERVER_PORT}\n' for address in REAL_SERVERS)
    return head + "".join(servers)


class Reading(NamedTuple):
    """Of one transfer. The CPU time is that of all processes in the gateway; other work on the machine hardly touches it."""

    gbit_per_s: float
    gateway_cpu_s: float


def _compared(transfer: Callable[[int, int], None], rounds: int, mebibytes: int) -> str:
    """Measure both services in turns and say how they compare."""
    readings: dict[str, list[Reading]] = {name: [] for name in _PORTS}
    for number in range(rounds):
        for name in sorted(_PORTS, reverse=bool(number % 2)):
            readings[name].append(_measure(transfer, _PORTS[name], mebibytes))
    lines = [f"{transfer.__name__}, {rounds} rounds of {mebibytes} MiB: median [min..max]"]
    for what, field in (("speed, Gbit/s", "gbit_per_s"), ("gateway CPU, s", "gateway_cpu_s")):
        proxied, plain = ([getattr(reading, field) for reading in readings[name]] for name in ("proxied", "plain"))
        ratios = [one / other for one, other in zip(proxied, plain, strict=True)]
        figures = [f"{_spread(values):20}" for values in (proxied, plain, ratios)]
        lines.append(f"  {what:15} proxied {figures[0]} plain {figures[1]} proxied/plain {figures[2]}".rstrip())
    return "\n".join(lines)


def _measure(transfer: Callable[[int, int], None], port: int, mebibytes: int) -> Reading:
    time.sleep(_SETTLE_S)
    cpu_s, started = _gateway_cpu_s(), time.perf_counter()
    transfer(port, mebibytes)
    duration_s = time.perf_counter() - started
    time.sleep(_SETTLE_S)
    return Reading(mebibytes * _MIB * 8 / 1e9 / duration_s, _gateway_cpu_s() - cpu_s)


def _gateway_cpu_s() -> float:
    """What the processes in the gateway's namespace have used so far, in the kernel and outside."""
    gateway = namespaces.path(Site.of_environment().gateway).stat().st_ino
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is none of ours
            if (process / "ns/net").stat().st_ino == gateway:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[_UTIME]) + int(fields[_STIME])
    return ticks / os.sysconf("SC_CLK_TCK")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}..{max(values):.2f}]"


def upload(port: int, mebibytes: int) -> None:
    """Send so much. Raises BenchError unless the server got all of it."""
    with _connected(port) as conn:
        conn.sendall(f"POST /sha256?close=1 HTTP/1.1\r\nHost: lab\r\nContent-Length: {mebibytes * _MIB}\r\n\r\n".encode())
        for _ in range(mebibytes):
            conn.sendall(_CHUNK)
        answer = b"".join(iter(lambda: conn.recv(_MIB), b""))
    if f'"bytes": {mebibytes * _MIB}}}'.encode() not in answer:
        raise BenchError(f"an upload was answered with {answer[-200:]!r}")


def download(port: int, mebibytes: int) -> None:
    """Get so much. Raises BenchError when it was not all."""
    buffer, count = bytearray(_MIB), 0
    with _connected(port) as conn:
        conn.sendall(f"GET /bytes/{mebibytes * _MIB}?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
        while received := conn.recv_into(buffer):
            count += received
    if count <= mebibytes * _MIB:  # with the header of the answer, it is more
        raise BenchError(f"a download ended after {count} bytes")


def _connected(port: int) -> socket.socket:
    return socket.create_connection((os.environ["LAB_VIP"], port), timeout=_SILENCE_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
