"""The command `appliance host sysctl`: the parameters of the host's kernel, listed, explained and written over the API."""

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from appliance.cli.operator import add_command, ask, in_path, print_answer, view
from appliance.cli.output import show
from appliance.views import narrow

_COLUMNS, _LABEL = 80, 13

_MORE = """\
List the parameters of the host's kernel that concern TCP and a gateway, or explain one, or write one and print the value that is
then in force. It is in force until a reload changes it or the appliance stops, which puts the old value back.
"""


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the options of `host`."""
    add_command(parser, _host, _MORE, "host sysctl tcp_fin_timeout", "host sysctl tcp_fin_timeout 30")
    parser.add_argument("topic", choices=("sysctl",), metavar="sysctl", help="the word sysctl")
    parser.add_argument(
        "assignment",
        nargs="?",
        metavar="NAME[=VALUE]",
        help="the parameter to explain, or to write; without it, all are listed. net.ipv4.NAME, /proc/sys/net/ipv4/NAME and "
        "conf.INTERFACE.NAME are understood too",
    )
    parser.add_argument("values", nargs="*", metavar="VALUE", help="the value to write: one number, or several")


def _host(options: argparse.Namespace) -> None:
    """List all, or act as sysctl(8): NAME reads, and NAME=VALUE or NAME VALUE writes. What is read is explained."""
    if options.assignment is None:
        view("/host/sysctl", options, narrow.host_parameters)
        return
    name, writes, value = (word.strip() for word in options.assignment.partition("="))
    path = f"/host/sysctl/{in_path(name)}"
    body = None
    if writes or options.values:
        body = " ".join([value, *options.values]).encode(errors="surrogateescape")
    as_json = argparse.Namespace(**{**vars(options), "json": True})
    with ask(as_json, "GET" if body is None else "PUT", path, body=body) as answer:
        if options.json:
            print_answer(answer, options)
        else:
            shown = _explanation if body is None else _values
            show("\n".join(shown(json.loads(answer.text()))), is_wide=options.wide)


def _values(row: Mapping[str, Any]) -> Iterator[str]:
    """One line for each value in force, in the form of sysctl(8)."""
    values = row["value"] if isinstance(row["value"], dict) else {"*": row["value"]}
    for place, value in values.items():
        yield f"{row['sysctl'].replace('*', place.replace('.', '/'))} = {_text(value)}"


def _explanation(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _values(row)
    yield ""
    yield from textwrap.wrap(row["meaning"], _COLUMNS)
    yield ""
    for label, words in _facts(row):
        yield from textwrap.wrap(words, _COLUMNS, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL)


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    unit = f" {row['unit']}" if row["unit"] else ""
    ranges = [f"{one['field']} {one['min']}..{one['max']}" for one in row["ranges"]]
    yield "range", ", ".join(ranges).removeprefix("value ") + unit
    yield "default", "as the kernel finds right for the memory" if row["default"] is None else _text(row["default"]) + unit
    yield "recommended", "no other value" if row["recommended"] is None else _text(row["recommended"]) + unit
    if row["state"] != "writable":
        yield row["state"], row["reason"]
    yield "often wrong", row["mistake"]
    yield "here", row["here"]
    if row["tunables"]:
        yield "tunables", f"{', '.join(row['tunables'])} (appliance sysctl NAME): the same for sessions of the gateway"


def _text(value: object) -> str:
    if value is None:
        return "(absent)"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
