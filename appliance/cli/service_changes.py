"""The commands `services` and `pools`: what is configured, and how it is added, changed and removed while traffic flows."""

import argparse
import json
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

from appliance.cli.operator import add_command, in_path, send, view
from appliance.views import narrow

_SERVICES = """\
List the services as they are configured, or show one of them with all keys that are given; or add, change or remove one. A KEY is
one of the configuration file, as health_check.type. A VALUE is written as there, but a text needs no quotes; an empty one gives
the key its default.
"""
_POOLS = """\
List the pools of local addresses, or show one of them; or give it other addresses, or remove it. Sessions on an address that no
service has any more end.
"""


class Assignment(NamedTuple):
    """KEY=VALUE of a command line."""

    path: tuple[str, ...]
    value: Any
    """None for an empty text."""


def add_services(parser: argparse.ArgumentParser) -> None:
    """Add the options of `services`."""
    examples = (
        "services web scheduler=wlc health_check.type=tcp",
        "services dns vip=203.0.113.11 port=53 protocol=udp --add",
    )
    add_command(parser, _services, _SERVICES, *examples)
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="the service to show or to change")
    parser.add_argument("assignments", metavar="KEY=VALUE", nargs="*", type=assignment, help="give the key this value")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--add", action="store_true", help="add it; `appliance servers` adds its real servers")
    what.add_argument("--remove", action="store_true", help="remove it")


def add_pools(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pools`."""
    add_command(parser, _pools, _POOLS, "pools", "pools spare 192.0.2.20 192.0.2.21")
    parser.add_argument("pool", metavar="POOL", nargs="?", help="the pool to show or to change")
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="*", help="give it these addresses and no others; it is added when it is not there"
    )
    parser.add_argument("--remove", action="store_true", help="remove it")


def assignment(text: str) -> Assignment:
    """KEY=VALUE. Raises ArgumentTypeError."""
    key, sets, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not sets or not all(path):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return Assignment(path, _value(value.strip()))


def _value(text: str) -> Any:
    """As in the configuration file; what would be no value there is a text."""
    try:
        table = tomllib.loads(f"value = {text}")
        json.dumps(table, allow_nan=False)  # refuses dates and infinities, which no key takes
    except (ValueError, TypeError, RecursionError):
        return text or None
    return table["value"] if len(table) == 1 else text


def _services(options: argparse.Namespace) -> None:
    changes = bool(options.assignments)
    if options.service is None:
        refuse_if(options.add or options.remove, "the name of the service is missing")
        view("/services", options, narrow.services)
        return
    one = f"/services/{in_path(options.service)}"
    if options.remove:
        refuse_if(changes, "--remove takes no KEY=VALUE")
        send(options, "DELETE", one)
    elif options.add:
        send(options, "POST", "/services", {"name": options.service, **table_of(options.assignments)})
    elif changes:
        send(options, "PATCH", one, table_of(options.assignments))
    else:
        view(one, options)


def _pools(options: argparse.Namespace) -> None:
    if options.pool is None:
        refuse_if(options.remove, "the name of the pool is missing")
        view("/pools", options)
        return
    one = f"/pools/{in_path(options.pool)}"
    if options.remove:
        refuse_if(bool(options.addresses), "--remove takes no addresses")
        send(options, "DELETE", one)
    elif options.addresses:
        send(options, "PUT", one, {"addresses": options.addresses})
    else:
        view(one, options)


def table_of(assignments: Iterable[Assignment]) -> dict[str, Any]:
    """The keys with their values, as JSON has them. Raises ApiError when one of them is given twice."""
    table: dict[str, Any] = {}
    for path, value in assignments:
        place: Any = table
        for part in path[:-1]:
            place = place.setdefault(part, {})
            refuse_if(not isinstance(place, dict), f"{part} is given twice")
        refuse_if(path[-1] in place, f"{'.'.join(path)} is given twice")
        place[path[-1]] = value
    return table


def refuse_if(is_wrong: bool, why: str) -> None:
    """Raises ApiError when something that was asked for is wrong."""
    from appliance.cli.api_client import ApiError

    if is_wrong:
        raise ApiError(why)
