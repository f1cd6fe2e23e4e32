"""`python -m faults.soak --minutes M`: traffic of all kinds, with reloads and readers of the API, and then a verdict.

The exit code is 1 when anything has piled up. Progress goes to standard error, the verdict to standard output.
"""

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.rig import program
from bench.rig.tables import aligned
from bench.rig.topology import BenchError, Site, module
from faults import site
from faults.gateway import Gateway, wait_until
from faults.lab import gateway_of, run_in_lab
from faults.soak.samples import Sample, rules, sample, tables
from faults.soak.verdict import Soak, growth_kib, settled, slope_kib_per_min, troubles

_NAME = "faults.soak"
_MINUTES_MAX = 24 * 60.0
_LOOK_S = 1.0
_SAY_EVERY, _RELOAD_EVERY, _READ_EVERY = 10, 7, 2
"""In looks."""

_TIMEOUT_MS = 8_000
"""Of every state. The verdict waits for the end of all sessions, and defaults are minutes."""

_EMPTY_S = 60.0
_WEIGHTS = 7
_END_S = 20.0

_READ = (
    "/stats/ext",
    "/stats/ip_vs",
    "/stats/queues",
    "/stats/slabinfo",
    "/stats/ip_vs_conn",
    "/conns?limit=50",
    "/conns/top?by=client&n=5",
    "/sysctl",
)


def parse(given: Sequence[str]) -> argparse.Namespace:
    """The command line. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog="python -m faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=5.0, metavar="M", help="how long the traffic goes on (default 5)")
    parser.add_argument("--lane", choices=["on", "off"], default="on" if site.has_lane() else "off")
    parser.add_argument("--shards", type=program.within(1, 8), default=2)
    parser.add_argument("--inside-lab", nargs=2, metavar=("CONFIG", "CONTROL"), help=argparse.SUPPRESS)
    return parser.parse_args(given)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= _MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0, up to {_MINUTES_MAX:.0f}")
    return minutes


def main(given: Sequence[str] | None = None) -> int:
    """Either half of the program: the one that makes the lab, or in that lab the one that soaks."""
    arguments = sys.argv[1:] if given is None else given
    options = parse(arguments)
    configuration = site.configuration(lane=options.lane == "on", sysctl=site.short_timeouts(_TIMEOUT_MS))
    return program.exit_code(
        _NAME,
        lambda: _inside(options) if options.inside_lab else run_in_lab(_NAME, arguments, options, configuration),
    )


def _inside(options: argparse.Namespace) -> int:
    program.unwind_on_signals()
    gateway = gateway_of(options)
    with site.servers_running(gateway.site):
        wait_until("the appliance is well", gateway.is_well)
        soak = _soak(gateway, 60 * options.minutes)
    print(as_text(soak), end="")
    return program.FAILED if list(troubles(soak)) else 0


def _soak(gateway: Gateway, seconds: float) -> Soak:
    before, rules_before = sample(gateway), rules(gateway)
    failures: list[str] = []
    with _traffic(gateway.site) as traffic:
        during = tuple(_under_traffic(gateway, traffic, seconds, failures))
        outcomes = _outcomes(traffic)
    _say("the traffic has ended; waiting for the end of all sessions")
    try:
        wait_until("nothing is left", lambda: tables(gateway).is_empty, _EMPTY_S, poll_s=1.0)
    except BenchError:
        _say("something is left")
    corrupted = site.corrupted_at_servers(gateway.site)
    left = tables(gateway)
    return Soak(
        before, during, sample(gateway), left, rules_before, rules(gateway), outcomes, corrupted, tuple(failures)
    )  # fmt: skip


@contextmanager
def _traffic(_: Site) -> Iterator["subprocess.Popen[str]"]:
    command = module("faults.soak.traffic", site.VIP, str(site.STREAM_PORT), str(site.UDP_PORT))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _outcomes(traffic: "subprocess.Popen[str]") -> Any:
    assert traffic.stdin is not None
    assert traffic.stdout is not None
    traffic.stdin.write("\n")
    traffic.stdin.flush()
    if not (line := traffic.stdout.readline()):
        raise BenchError(f"the clients ended with {traffic.wait(_END_S)}")
    return json.loads(line)


def _under_traffic(gateway: Gateway, traffic: "subprocess.Popen[str]", seconds: float, failures: list[str]) -> Iterator[Sample]:
    """A sample at each look; between them, reloads, reads and a word for whoever waits."""
    start, text, paths = time.monotonic(), gateway.config.read_text(), itertools.cycle(_READ)
    for look in itertools.count(1):
        if (elapsed_s := time.monotonic() - start) >= seconds:
            return
        time.sleep(max(0.0, min(start + look * _LOOK_S, start + seconds) - time.monotonic()))
        if look % _RELOAD_EVERY == 0:
            said = gateway.reload(f"{text}weight = {1 + look % _WEIGHTS}\n")
            failures += [] if said.startswith("configuration read again") else [said]
        if look % _READ_EVERY == 0:
            failures += _read(gateway, next(paths))
        one = sample(gateway)
        yield one
        if look % _SAY_EVERY == 0:
            answered = sum(sum(counts.values()) for counts in _outcomes(traffic).values())
            rss = ", ".join(f"{name} {process.rss_kib / 1024:.1f} MiB" for name, process in one.processes.items())
            done, sessions = f"{elapsed_s / 60:.1f} of {seconds / 60:g} min", tables(gateway).sessions
            _say(f"{done}: {answered:,} exchanges, {sessions} sessions, {rss}")


def _read(gateway: Gateway, path: str) -> list[str]:
    try:
        status = gateway.ask(path).status
    except (OSError, http.client.HTTPException) as error:
        return [f"{path}: {error}"]
    return [] if status == http.HTTPStatus.OK else [f"{path}: {status}"]


def as_text(soak: Soak) -> str:
    """The verdict, for people."""
    observed = settled(soak.during)
    heads = ("process", "MiB before", "MiB after", "MiB a minute", "growth, MiB", "descriptors before", "after")
    rows = [
        (
            name,
            f"{first.rss_kib / 1024:.1f}",
            f"{soak.after.processes[name].rss_kib / 1024:.1f}",
            f"{slope_kib_per_min(name, observed) / 1024:+.2f}",
            f"{growth_kib(name, observed) / 1024:+.1f}",
            str(first.descriptors),
            str(soak.after.processes[name].descriptors),
        )
        for name, first in soak.before.processes.items()
        if name in soak.after.processes
    ]
    habits = [("habit", "outcomes"), *((habit, _counts(outcomes)) for habit, outcomes in soak.outcomes.items())]
    left = f"left: {soak.left.sessions} sessions, {soak.left.ports} local ports in use"
    lane = "" if soak.left.lane is None else f", {soak.left.lane} entries of the lane"
    wrong = list(troubles(soak))
    verdict = "nothing has piled up\n" if not wrong else "wrong:\n" + "".join(f"  {sentence}\n" for sentence in wrong)
    return "\n".join((aligned([heads, *rows]), aligned(habits, left={0, 1}), f"{left}{lane}\n", verdict))


def _counts(outcomes: dict[str, int] | Any) -> str:
    return ", ".join(f"{count:,} {how}" for how, count in outcomes.items())


def _say(words: str) -> None:
    print(f"soak: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
