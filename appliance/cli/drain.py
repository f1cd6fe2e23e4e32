"""``appliance drain`` and ``appliance events``: drain a real server, wait until its last session is gone, hear what happens."""

import argparse
import time
from typing import Any

from appliance.cli.operator import add_command, answered_json, ask, in_path, print_answer, view
from appliance.cli.output import complain
from appliance.views import narrow

TAKEN_BACK, REMOVED, TIMED_OUT = 3, 4, 5
"""Exit codes of a wait that ends without the last session gone."""

_LOOK_S = 0.5
_PATIENCE_S = 60.0
"""How long there may be no answer while it waits: as long as a restart of the appliance may take."""

_NOT_FOUND = 404
_DRAIN = f"""\
Drain a real server: it gets no new sessions from now on, whatever its weight, and its old ones go on. With --deadline, those
that are left then are ended: both ends of a TCP session get a RST. It stays drained over a reload and a restart of the appliance,
until --undo. With --wait, the exit code is 0 when its last session is gone; {TAKEN_BACK} when the drain was taken back meanwhile,
{REMOVED} when the real server was removed, {TIMED_OUT} after --timeout, and 1 when the appliance gives no answer for
{_PATIENCE_S:.0f} s: a restart meanwhile does no harm.
"""
_EVENTS = """\
Show the latest events: which real servers became up or down, were drained, and have lost their last session.
"""


def add_drain(drain: argparse.ArgumentParser) -> None:
    """Add the options of `drain`."""
    add_command(drain, _drain, _DRAIN, "drain web 192.0.2.101:8080 --deadline 300 --wait")
    drain.add_argument("service", metavar="SERVICE", help="the name of a service")
    drain.add_argument("server", metavar="SERVER", help="one of its real servers, as ADDRESS:PORT")
    drain.add_argument(
        "--deadline", dest="deadline_s", metavar="S", help="end the sessions that are left in S seconds, one after the other"
    )
    drain.add_argument("--wait", action="store_true", help="return when the last session is gone")
    drain.add_argument("--timeout", metavar="S", type=_seconds, help="wait for S seconds at most")
    what = drain.add_mutually_exclusive_group()
    what.add_argument("--undo", action="store_true", help="take the drain back: it gets new sessions again")
    what.add_argument("--show", action="store_true", help="change nothing; with --wait, wait for a drain that has begun before")


def add_events(events: argparse.ArgumentParser) -> None:
    """Add the options of `events`."""
    add_command(events, _events, _EVENTS, "events --limit 20")
    events.add_argument("--since", metavar="N", help="only those behind event N")
    events.add_argument("--limit", metavar="N", help="at most N events")


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of whole seconds")
    return float(text)


def _events(options: argparse.Namespace) -> None:
    given = {field: value for field in ("since", "limit") if (value := getattr(options, field)) is not None}
    view("/events", options, narrow.events, **given)


def _drain(options: argparse.Namespace) -> int:
    method = "DELETE" if options.undo else "GET" if options.show else "POST"
    fields = ("deadline_s",) if method == "POST" else ()
    with ask(options, method, _path(options), *fields) as answer:
        print_answer(answer, options)
    return _wait(options) if options.wait and not options.undo else 0


def _path(options: argparse.Namespace) -> str:
    name, server = map(in_path, (options.service, options.server))
    return f"/services/{name}/real_servers/{server}/drain"


def _wait(options: argparse.Namespace) -> int:
    """Wait until the last session is gone; returns the exit code. Raises ApiError when there is no answer for _PATIENCE_S."""
    name, ends = f"real server {options.server} of service {options.service}", _after(options.timeout)
    while True:
        state = _state(options, min(ends, _after(_PATIENCE_S)))
        if state is None:
            return _ended(f"{name} is not there any more", REMOVED)
        if not state["draining"]:
            return _ended(f"{name} is not drained any more", TAKEN_BACK)
        if state["gone"]:
            return 0
        if time.monotonic() >= ends:
            return _ended(f"{name} has {state['sessions']} sessions left", TIMED_OUT)
        time.sleep(_LOOK_S)


def _after(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds


def _state(options: argparse.Namespace, until: float) -> dict[str, Any] | None:
    """What the appliance says of the drain; None when there is no such real server. It is asked again until a moment while it
    gives no answer, or says that it cannot; after that, ApiError is raised."""
    from appliance.cli.api_client import ApiError

    while True:
        try:
            state: dict[str, Any] = answered_json(options, _path(options))
            return state
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            if 0 < error.status < 500 or time.monotonic() >= until:
                raise
        time.sleep(_LOOK_S)


def _ended(message: str, code: int) -> int:
    complain(message)
    return code
