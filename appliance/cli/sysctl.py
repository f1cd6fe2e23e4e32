"""The command `appliance sysctl`: the tunables of a running appliance."""

import argparse

from appliance.cli.operator import add_command, ask, in_path, print_answer, view
from appliance.cli.output import write
from appliance.views import narrow

_SYSCTL = """\
List all tunables, or read one, or write one and print the value that is then in force. --wide lists what each means, too.
"""


def add_sysctl(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sysctl`."""
    add_command(parser, _sysctl, _SYSCTL, "sysctl tcp_timeout_established=7200000")
    parser.add_argument(
        "assignment",
        nargs="?",
        metavar="NAME[=VALUE]",
        help="the tunable to read, or to write with =VALUE; without it, all tunables are listed. "
        "/proc/sys/net/ipv4/vs/NAME and net.ipv4.vs.NAME are understood too",
    )


def _sysctl(options: argparse.Namespace) -> None:
    """List all tunables, or act as sysctl(8): NAME reads, NAME=VALUE writes, and both print the value in force."""
    if options.assignment is None:
        view("/sysctl", options, narrow.tunables)
        return
    name, writes, value = (word.strip() for word in options.assignment.partition("="))
    path = f"/sysctl/{in_path(name)}"
    body = value.encode(errors="surrogateescape") if writes else None
    with ask(options, "PUT" if writes else "GET", path, body=body) as answer:
        if options.json:
            print_answer(answer, options)
        else:
            write(f"{name} = {answer.text()}".encode())
