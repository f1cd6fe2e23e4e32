"""`python -m faults.connections --count N`: so many short connections at a bounded rate, and then a verdict.

Two services, one with `rr` and one with `wrr` (weights 1, 2, 3), are asked at the same time, with prepared admissions on. The
exit code is 1 when shares, memory, tables or figures are not as they should be. Progress goes to standard error, the verdict to
standard output.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from bench.rig import program
from bench.rig.servers import nginx_running, prepare_network
from bench.rig.tables import aligned
from faults import site as faults_site
from faults.connections.load import opening
from faults.connections.site import PORTS_MAX, PORTS_MIN, SERVICES, configuration
from faults.connections.verdict import COUNTED, Look, Run, wrong
from faults.gateway import Gateway, wait_until
from faults.lab import gateway_of, run_in_lab
from faults.soak.samples import Sample, sample
from faults.soak.verdict import growth_kib, settled, slope_kib_per_min

_NAME = "faults.connections"
_COUNT_MAX = 1_000_000_000
_RATE_MAX = 100_000
_SLICE_S = 20
_SAMPLE_S = 1.0
_SAY_EVERY_S = 10.0
_LOOK_SHARE = 0.1
"""Of the time at most, in which the program looks at all tables: looks take cores, and the longer the more sessions there are."""
_QUIET_S = 120.0
_LOOK_S = 120.0
"""How long a look at all tables may take while workers have much else to do."""
_TOOLS = ("wrk",)


def parse(given: Sequence[str]) -> argparse.Namespace:
    """The command line. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog=f"python -m {_NAME}", description=__doc__)
    parser.add_argument("--count", type=program.within(1, _COUNT_MAX), default=200_000, metavar="N", help="default 200000")
    parser.add_argument(
        "--rate", type=program.within(1, _RATE_MAX), default=5000, metavar="N", help="connections a second at most (default 5000)"
    )
    parser.add_argument(
        "--local-ports", type=program.within(PORTS_MIN, PORTS_MAX), default=PORTS_MAX, metavar="N", help=f"default {PORTS_MAX}"
    )
    parser.add_argument("--shards", type=program.within(1, 8), default=2)
    parser.add_argument("--inside-lab", nargs=2, metavar=("CONFIG", "CONTROL"), help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    options.lane = "on"
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Either half of the program: the one that makes the lab, or in that lab the one that opens connections."""
    arguments = sys.argv[1:] if given is None else given
    options = parse(arguments)
    return program.exit_code(_NAME, lambda: _inside(options) if options.inside_lab else _outside(arguments, options))


def _outside(arguments: Sequence[str], options: argparse.Namespace) -> int:
    program.check_host(_TOOLS, "connections")
    return run_in_lab(_NAME, arguments, options, configuration(options.local_ports))


def _inside(options: argparse.Namespace) -> int:
    program.unwind_on_signals()
    gateway = gateway_of(options)
    prepare_network(gateway.site)
    with ExitStack() as stack:
        for name, namespace in zip(faults_site.NAMES, gateway.site.real_servers, strict=True):
            stack.enter_context(nginx_running(gateway.site, name, namespace))
        wait_until("the appliance is well", gateway.is_well)
        run = _run(gateway, options)
    print(as_text(run), end="")
    return program.FAILED if list(wrong(run)) else 0


class Watch:
    """What is seen of the gateway while connections are opened. Times are in seconds."""

    def __init__(self, gateway: Gateway, wanted: int) -> None:
        self._gateway, self._wanted = gateway, wanted
        self._began = self._looked_at = self._next_look = time.monotonic()
        self._next_word = self._began + _SAY_EVERY_S
        self.samples, self.looks = list[Sample](), list[Look]()

    @property
    def elapsed_s(self) -> float:
        """How long it has been."""
        return time.monotonic() - self._began

    def see(self) -> None:
        """Take a sample; and look at all tables, and say how far it is, when that is due."""
        self.samples.append(sample(self._gateway))
        now = time.monotonic()
        if now >= self._next_look:
            self.looks.append(look(self._gateway))
            self._looked_at = time.monotonic()
            self._next_look = now + (self._looked_at - now) / _LOOK_SHARE
        if now >= self._next_word:
            self._next_word = now + _SAY_EVERY_S
            _say(_progress(self.looks[-1], self.samples[-1], self._looked_at - self._began, self._wanted))


def _run(gateway: Gateway, options: argparse.Namespace) -> Run:
    before, watch = sample(gateway), Watch(gateway, options.count)
    answered, troubles = 0, list[str]()
    while answered < options.count:
        seconds = min(_SLICE_S, 1 + (options.count - answered) // options.rate)
        with opening([service.vip for service in SERVICES], options.rate, seconds, gateway.site.directory) as load:
            while not load.is_over(_SAMPLE_S):
                watch.see()
        answered += load.answered
        troubles += [load.trouble] if load.trouble else []
        if not load.answered:
            break
    took_s = watch.elapsed_s
    _say(f"{answered:,} connections in {took_s:.0f} s; waiting until nothing is ready or half-open")
    after = _quiet(gateway)
    return Run(
        wanted=options.count,
        answered=answered,
        reused=json.loads(gateway.ask("/stats/ext").body)["fullnat_conn_reused"]["total"],
        opened_by_kernel=gateway.lane()["counters"]["opened"],
        seconds=took_s,
        troubles=tuple(troubles),
        before=before,
        during=tuple(watch.samples),
        last=sample(gateway),
        looks=tuple(watch.looks),
        after=after,
        shards=options.shards,
    )


def look(gateway: Gateway) -> Look:
    """What the gateway says of itself at this moment."""
    services = json.loads(gateway.ask("/stats/ip_vs").body)["services"]
    figures = {
        service["name"]: {row["address"]: {name: row[name] for name in COUNTED} for row in service["real_servers"]}
        for service in services
    }
    return Look(json.loads(gateway.ask("/stats/consistency", timeout_s=_LOOK_S).body), figures)


def _quiet(gateway: Gateway) -> Look:
    """The look when nothing is ready any more, and two looks say the same. Raises BenchError when that never is."""
    seen = [look(gateway)]

    def is_quiet() -> bool:
        seen.append(look(gateway))
        held: Any = seen[-1].consistency["real_servers"].values()
        return seen[-1] == seen[-2] and not any(counts["ready"] or counts["young"] for counts in held)

    wait_until("nothing moves any more", is_quiet, _QUIET_S, poll_s=0.5)
    return seen[-1]


def _progress(seen: Look, one: Sample, elapsed_s: float, wanted: int) -> str:
    conns = sum(row["conns"] for rows in seen.figures.values() for row in rows.values())
    rss = ", ".join(f"{name} {process.rss_kib / 1024:.1f} MiB" for name, process in one.processes.items())
    return f"{elapsed_s:.0f} s: {conns:,} of {wanted:,} connections, {conns / elapsed_s:,.0f} a second; {rss}"


def as_text(run: Run) -> str:
    """The verdict, for people."""
    observed = settled(run.during)
    memory = [("process", "MiB before", "MiB after", "MiB a minute", "growth, MiB")]
    memory += [
        (
            name,
            f"{first.rss_kib / 1024:.1f}",
            f"{run.last.processes[name].rss_kib / 1024:.1f}",
            f"{slope_kib_per_min(name, observed) / 1024:+.2f}",
            f"{growth_kib(name, observed) / 1024:+.1f}",
        )
        for name, first in run.before.processes.items()
    ]
    shares = [("service", "real server", "weight", "connections"), *_shares(run)]
    held = run.after.consistency
    endpoints = [("real server", *next(iter(held["real_servers"].values()), {}))]
    endpoints += [(address, *map(str, counts.values())) for address, counts in held["real_servers"].items()]
    sentences = list(dict.fromkeys(wrong(run)))
    verdict = "all of it agrees\n" if not sentences else "wrong:\n" + "".join(f"  {sentence}\n" for sentence in sentences)
    return "\n".join(
        (
            f"{run.answered:,} connections in {run.seconds:.0f} s, {run.answered / run.seconds:,.0f} a second; "
            f"{run.opened_by_kernel:,} opened by the kernel; {run.reused:,} went on with an older one\n",
            aligned(shares, left={0, 1}),
            aligned(memory),
            aligned(endpoints, left={0}),
            f"looks at all tables under load: {len(run.looks)}, and one at the end: {held['entries']['used']:,} entries used, "
            f"{held['flows']:,} flows, {held['free']:,} local endpoints free\n",
            verdict,
        )
    )


def _shares(run: Run) -> Iterator[tuple[str, ...]]:
    for service in SERVICES:
        for address, weight in service.weights.items():
            yield service.name, address, str(weight), f"{run.after.figures[service.name][address]['conns']:,}"


def _say(words: str) -> None:
    print(f"connections: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
