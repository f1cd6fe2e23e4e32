"""The commands that print one view of the API."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from appliance.cli.operator import add_command, ask, in_path, view
from appliance.cli.output import GREEN, RED, YELLOW, Colours, copy
from appliance.views import narrow

if TYPE_CHECKING:
    from appliance.cli.command_line import CommandParser


class _Table(NamedTuple):
    path: str
    more: str
    narrow: Callable[[Any], str] | None = None
    """What makes 80 columns of it; None when the text of the API has no more."""
    colours: Colours = ()


_TABLES = {
    "status": _Table(
        "/stats/ip_vs",
        "Show the services and their real servers as `ipvsadm -Ln` does: scheduler, flags, weights and sessions. Flags are "
        "`persistent SECONDS`, `synproxy`, `synproxy auto`, and `engaged` behind the latter while SYNs get cookies.",
    ),
    "traffic": _Table(
        "/stats/ip_vs_stats", "Show sessions, packets and bytes, since the start and per second, of all services.", narrow.traffic
    ),
    "health": _Table(
        "/health",
        "Show the state of each real server, what its health check answered last, and which services are down.",
        narrow.health,
        ((r" down: |  down", RED), (r"  up, drained|  down, drained", YELLOW)),
    ),
    "attack": _Table(
        "/stats/attack",
        "Show whether the gateway is under attack, by what, and the latest attacks that are over.",
        narrow.attacks,
        (("^under attack", RED), ("^no attack", GREEN)),
    ),
    "queues": _Table("/stats/queues", "Show the counters of queues, of workers and of sessions that ended.", narrow.totals),
    "persistence": _Table("/stats/persistence", "Show how many clients each service with persistence remembers."),
    "lane": _Table(
        "/stats/lane", "Show which share of the packets of sessions the kernel carries, and why others went up to a worker."
    ),
    "slabinfo": _Table("/stats/slabinfo", "Show the objects, their size and the pages of each table and pool."),
    "consistency": _Table(
        "/stats/consistency",
        "Look whether tables and pools of sessions agree with each other and with the lane.",
        None,
        ((r"^wrong: [1-9]", RED), ("^wrong: 0", GREEN)),
    ),
    "sockstat": _Table(
        "/stats/sockstat",
        "Count the sessions as /proc/net/sockstat counts sockets, and show the sockets of the host beside them.",
    ),
    "conntrack": _Table(
        "/stats/conntrack",
        "Show how full the table of sessions is and what it dropped, beside the connection tracking of the host.",
    ),
}
"""By command."""

_DROPS = """\
Show the packets that were not translated and sent on, by reason: most packets first, with what each reason means. Reasons that no
packet had are left out. The reference of drop reasons says what to do about each.
"""
_COUNTERS = "Show the extended counters of LVS and of the gateway, summed over all shards and the kernel, or the total of one."
_METRICS = "Print all counters and gauges as Prometheus reads them from /metrics, in its text format."


def add_table(parser: "CommandParser") -> None:
    """Add the options of the command of that name."""
    assert parser.entry is not None
    table = _TABLES[parser.entry.name]
    act = partial(view, table.path, narrow=table.narrow, colours=table.colours)
    add_command(parser, act, table.more, parser.entry.name)


def add_drops(parser: argparse.ArgumentParser) -> None:
    """Add the options of `drops`."""
    add_command(parser, _drops, _DROPS, "drops")
    parser.add_argument("--all", action="store_true", help="show all reasons")


def add_counters(parser: argparse.ArgumentParser) -> None:
    """Add the options of `counters`."""
    add_command(parser, _counters, _COUNTERS, "counters synproxy_ok_ack")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the counter whose total is shown; without it, all are")


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add the options of `metrics`."""
    add_command(parser, _metrics, _METRICS, "metrics")


def _drops(options: argparse.Namespace) -> None:
    view("/stats/drops", options, partial(narrow.drops, with_zeros=options.all))


def _counters(options: argparse.Namespace) -> None:
    if options.name is None:
        view("/stats/ext", options, narrow.totals)
    else:
        view(f"/stats/ext/{in_path(options.name)}", options)


def _metrics(options: argparse.Namespace) -> None:
    """The lines are a format, so they are not folded."""
    with ask(options, "GET", "/metrics") as answer:
        copy(answer, is_json=options.json)
