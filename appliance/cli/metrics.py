"""The command `appliance metrics`: the page that Prometheus reads, on a terminal."""

from functools import partial
from typing import TYPE_CHECKING

from appliance.cli.operator import add_command, view

if TYPE_CHECKING:
    from appliance.cli.operator import Subparsers

_MORE = "Print all counters and gauges as Prometheus reads them from /metrics, in its text format."


def add_parser(subparsers: "Subparsers") -> None:
    """Add the command to the `appliance` command."""
    add_command(subparsers, "metrics", partial(view, "/metrics"), "print all numbers for Prometheus", _MORE)
