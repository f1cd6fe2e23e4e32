"""The commands that print one view of the API as it is."""

from functools import partial
from typing import TYPE_CHECKING

from appliance.cli.operator import add_command, view

if TYPE_CHECKING:
    from appliance.cli.command_line import CommandParser

_TABLES = {
    "health": (
        "/health",
        "Show the state of each real server, what its health check answered last, and which services are down.",
    ),
    "lane": (
        "/stats/lane",
        "Show which share of the packets of sessions the kernel carries, and why others went up to a worker.",
    ),
    "slabinfo": ("/stats/slabinfo", "Show the objects, their size and the pages of each table and pool."),
    "sockstat": (
        "/stats/sockstat",
        "Count the sessions as /proc/net/sockstat counts sockets, and show the sockets of the host beside them.",
    ),
    "conntrack": (
        "/stats/conntrack",
        "Show how full the table of sessions is and what it dropped, beside the connection tracking of the host.",
    ),
    "metrics": ("/metrics", "Print all counters and gauges as Prometheus reads them from /metrics, in its text format."),
}
"""By command: the path, and what it shows."""


def add_table(parser: "CommandParser") -> None:
    """Add the options of the command of that name."""
    assert parser.entry is not None
    path, more = _TABLES[parser.entry.name]
    add_command(parser, partial(view, path), more, parser.entry.name)
