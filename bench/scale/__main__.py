"""`python -m bench.scale`: what two thousand services with twenty thousand real servers cost. Root only; nothing is left.

Each figure stands beside the one for two services with twenty real servers, and beside its goal where there is one.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from bench.rig.machine import this_machine
from bench.scale.figures import Figures, as_text
from bench.scale.gateway import LISTED_VIP, Gateway, gateway
from bench.scale.network import LIVE_VIP, inside
from bench.scale.packets import packet_costs, ratio
from bench.scale.watch import Watch, ask, seconds

SIZES = ((2, 10), (2000, 10))
"""Services, and real servers of each."""

VIEWS = (("/metrics", "text/plain"), ("/stats/ip_vs", "application/json"), ("/health", "application/json"))
PREFIXES = 100_000
FIRST_PREFIX = IPv4Address("11.0.0.0")
_LIST_ROUNDS, _LIST_REQUESTS = 12, 100


def main() -> int:
    """Entry point; returns 1 when a goal was missed."""
    options = parse(sys.argv[1:])
    machine = this_machine()
    print(f"{machine.in_words}; load before: {machine.load_at_start}", end="\n\n")
    columns = [measured(*size) for size in options.sizes]
    print(as_text(options.sizes, columns))
    return any(figures.missed for figures in columns)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Thousands of services.")
    parser.add_argument("--sizes", type=_size, nargs="+", default=SIZES, metavar="S,R", help="services, and real servers of each")
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    services, per_service = map(int, text.split(","))
    return services, per_service


def measured(services: int, per_service: int) -> Figures:
    """All figures of one size."""
    figures = Figures()
    for kind, cost in packet_costs(services, per_service).items():
        figures.put_ratio(f"{kind}: cost beside that with one idle service", cost)
    with tempfile.TemporaryDirectory() as name, gateway(Path(name), services, per_service) as one:
        figures.put_s("check", seconds(one.check), goal=5)
        figures.put_s("start, until it is ready", seconds(one.start), goal=10)
        figures.put_s("then, until all are found to be dead", seconds(lambda: one.wait_until_all_are_down(services)), goal=60)
        for words, change in (
            ("one weight", lambda: one.reload_one(2)),
            ("all weights", lambda: one.reload_all(7)),
        ):
            with Watch(one.directory, one.api) as watch:
                figures.put_s(f"reload of {words}", seconds(change), goal=10)
            figures.put_ms(f"reload of {words}: longest wait for the API", watch.longest_answer_s)
            figures.put_ms(f"reload of {words}: longest turn of a worker", watch.longest_turn_s)
        for path, accept in VIEWS:
            with Watch(one.directory, one.api) as watch:
                figures.put_s(f"GET {path} ({accept})", _took(one, path, accept), goal=2)
            figures.put_ms(f"GET {path}: longest wait for the API", watch.longest_answer_s)
        for name, kib in one.memory_kib().items():
            figures.put(f"resident memory of {'the' if name == 'director' else 'a'} {name}, MB", f"{kib / 1000:.0f}")
        _measure_list(one, figures)
    return figures


def _took(one: Gateway, path: str, accept: str) -> float:
    return seconds(lambda: ask(one.api, path, accept))


def _measure_list(one: Gateway, figures: Figures) -> None:
    file = one.directory / "allowed"
    listed = (f"{FIRST_PREFIX + number * 256}/24" for number in range(PREFIXES))
    file.write_text("\n".join(("198.51.100.0/24", *listed)))
    figures.put_s(f"reload that brings a list of {PREFIXES} prefixes", seconds(lambda: one.reload_list(file)), goal=2)
    pairs = [(_requests(one, LIVE_VIP), _requests(one, LISTED_VIP)) for _ in range(_LIST_ROUNDS)]
    figures.put_ratio("a connection through that list: time beside one without", ratio(pairs))
    figures.put(
        "a request to a service that lives among them, with a connection of its own, ms",
        f"{statistics.median(plain for plain, _ in pairs) * 1e3:.2f}",
    )


def _requests(one: Gateway, vip: str) -> float:
    """Seconds for a request with a connection of its own."""
    url = f"http://{vip}/index.html?[1-{_LIST_REQUESTS}]"
    command = ("curl", "-s", "-m", "60", "-H", "Connection: close", "-w", "%{http_code} %{time_total}\n", "-o", "/dev/null", url)
    answers = [line.split() for line in inside(one.names.client, *command).splitlines()]
    if [code for code, _ in answers] != ["200"] * _LIST_REQUESTS:
        raise AssertionError(f"not all requests to {vip} were answered")
    return statistics.median(float(took_s) for _, took_s in answers)


if __name__ == "__main__":
    sys.exit(main())
