"""The commands that change what is configured while traffic flows: plan, apply, confirm, save, servers."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from appliance.cli.operator import add_command, answered_json, ask, in_path, print_answer, send, view
from appliance.cli.output import show, write
from appliance.cli.service_changes import Assignment, assignment, refuse_if, table_of
from appliance.ipc.rows import ChangePlan, PlannedChange, Saved
from appliance.views.config import change_plan, saved

WriteFile = Callable[[Path, str, str], str]
"""Replaces a text in a file by another one; returns why it could not, or an empty text."""

NEEDS_RESTART = 3
"""The exit code of a plan that cannot be applied while traffic flows."""

_UNIX = "unix:"
_LONGEST_FILE_BYTES = 8 << 20

_PLAN = """\
Say what a configuration would change, and what becomes of the sessions there are. Nothing changes. The exit code is 0 when it can
be applied, and 3 when it needs a restart.
"""
_APPLY = """\
Put a whole configuration in force, all of it or nothing, while traffic flows. Without FILE, put the file of the running appliance
in force exactly as it stands. The file is not written: see `appliance save`.
"""
_CONFIRM = "Let the change stay that `appliance apply --confirm-within` has made and that would be taken back otherwise."
_SAVE = """\
Write what was changed while the appliance runs into its file, in one step; comments stay. Over a Unix socket this command writes
the file, with your rights; otherwise the appliance does, where it may.
"""
_SERVERS = """\
List the real servers of a service as they are configured, or change one of them. Sessions stay where they are; those of a real
server that is removed wait for it, or end with the tunable expire_nodest_conn.
"""


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plan`."""
    add_command(parser, _plan, _PLAN, "plan new.toml")
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration")


def add_apply(parser: argparse.ArgumentParser) -> None:
    """Add the options of `apply`."""
    add_command(parser, _apply, _APPLY, "apply new.toml --confirm-within 60")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="the configuration (default: that of the appliance)")
    parser.add_argument(
        "--confirm-within",
        metavar="S",
        dest="confirm_within_s",
        help="take the change back after S seconds, 1..86400, unless `appliance confirm` comes before",
    )


def add_confirm(parser: argparse.ArgumentParser) -> None:
    """Add the options of `confirm`."""
    add_command(parser, _confirm, _CONFIRM, "confirm")


def add_save(parser: argparse.ArgumentParser, default_config: Path, write_file: WriteFile) -> None:
    """Add the options of `save`. `write_file` writes the configuration file."""
    add_command(parser, partial(_save, write_file), _SAVE, "save")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default_config,
        help="the only file that this command writes (default: %(default)s)",
    )


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Add the options of `servers`."""
    add_command(parser, _servers, _SERVERS, "servers web", "servers web 192.0.2.103:8080 --weight 50 slow_start_s=30")
    parser.add_argument("service", metavar="SERVICE", help="the service")
    parser.add_argument("server", metavar="ADDRESS:PORT", nargs="?", help="the real server to show or to change")
    parser.add_argument(
        "assignments", metavar="KEY=VALUE", nargs="*", type=assignment, help="give the key this value, as with `services`"
    )
    parser.add_argument("--weight", metavar="N", help="give it this weight; it is added when it is not there")
    parser.add_argument("--remove", action="store_true", help="remove it")


def _plan(options: argparse.Namespace) -> int:
    answer = _posted(options, "/config/plan", _text(options.file))
    plan = ChangePlan([PlannedChange(**change) for change in answer["changes"]], answer["needs_restart"])
    _show(options, answer, change_plan(plan).text)
    return NEEDS_RESTART if plan.needs_restart else 0


def _apply(options: argparse.Namespace) -> None:
    body = b"" if options.file is None else _text(options.file)
    with ask(options, "POST", "/config/apply", "confirm_within_s", body=body) as answer:
        print_answer(answer, options)


def _confirm(options: argparse.Namespace) -> None:
    send(options, "POST", "/config/confirm")


def _save(write_file: WriteFile, options: argparse.Namespace) -> None:
    """The file is written here only when the answer comes from a socket that has rights, and is about the file that was named: a
    stranger who listens on a port must not choose what root writes."""
    from appliance.cli.api_client import ApiError

    why_not = ""
    if options.api.startswith(_UNIX):
        offer = Saved(**_posted(options, "/config/save", b"", only_show="1"))
        if offer.changes and Path(offer.file).resolve() != options.config.resolve():
            raise ApiError(f"the file of the appliance is {offer.file}; say so with --config")
        why_not = write_file(Path(offer.file), offer.before, offer.after) if offer.changes else ""
        if not why_not:
            done = offer._replace(is_written=bool(offer.changes))
            _show(options, done._asdict(), saved(done).text)
            return
    try:
        send(options, "POST", "/config/save")
    except ApiError as error:
        raise ApiError("; ".join([*filter(None, [why_not]), str(error)])) from error


def _servers(options: argparse.Namespace) -> None:
    path = f"/services/{in_path(options.service)}/real_servers"
    if options.server is None:
        view(path, options)
        return
    one = f"{path}/{in_path(options.server)}"
    keys = table_of([*options.assignments, *_weight(options.weight)])
    if options.remove:
        refuse_if(bool(keys), "--remove takes no KEY=VALUE and no --weight")
        send(options, "DELETE", one)
    elif keys:
        _set(options, path, one, keys)
    else:
        view(one, options)


def _weight(text: str | None) -> Iterator[Assignment]:
    """An empty text is no weight, and does not give it its default: a script may have lost it."""
    if text is not None:
        yield Assignment(("weight",), int(text) if text.isascii() and text.isdigit() else text)


def _set(options: argparse.Namespace, path: str, one: str, keys: Mapping[str, Any]) -> None:
    servers = answered_json(options, path)
    is_there = any(f"{server['address']}:{server['port']}" == options.server for server in servers)
    send(options, "PATCH" if is_there else "PUT", one, keys)


def _text(file: Path) -> bytes:
    """The bytes of a file. Raises ApiError when it cannot be read, or is longer than any configuration."""
    from appliance.cli.api_client import ApiError

    try:
        with file.open("rb") as stream:
            data = stream.read(_LONGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ApiError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data.strip():
        raise ApiError(f"{file} is empty")
    return data


def _posted(options: argparse.Namespace, path: str, body: bytes, **query: str) -> Any:
    """The answer to a POST as JSON, whatever form the user wants. Raises ApiError."""
    as_json = argparse.Namespace(**{**vars(options), "json": True})
    with ask(as_json, "POST", path, body=body, **query) as answer:
        return json.loads(answer.text())


def _show(options: argparse.Namespace, data: Any, text: str) -> None:
    if options.json:
        write(f"{json.dumps(data)}\n".encode(), is_json=True)
    else:
        show(text, is_wide=options.wide)
