"""The command `appliance doctor`: asks the running appliance, or looks at the host itself when none runs here.

Exit codes: 0 when there is no finding, or only notes; 10 for warnings, 20 for errors. 1, 2, 130 and 141 mean what they mean for
other commands (see `cli.operator`): there is no report, or not all of it could be written.
"""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from appliance.cli.credentials import Credentials, add_options, credentials
from appliance.cli.operator import API_VARIABLE, DEFAULT_API, api_address, run_guarded, write
from appliance.views.doctor import as_text

if TYPE_CHECKING:
    from appliance.cli.api_client import ApiError
    from appliance.cli.operator import Subparsers

EXIT_CODES: Mapping[str, int] = {"ok": 0, "note": 0, "warning": 10, "error": 20}

LookHere = Callable[[Path], Mapping[str, Any]]
"""A report on this host by a configuration file, as `/doctor` answers it. Raises ConfigError."""

_TUNABLE_COMMAND = "appliance sysctl "
"""How a printed command begins that asks the appliance."""

_DESCRIPTION = """\
Say what is wrong with the gateway and its host, how bad it is, what was seen, and which commands mend it. Asks the running
appliance. When none runs here, and --api is not given, it looks at the host and the configuration file itself, twice within a few
seconds. The exit code is 0 when nothing is wrong or there are only notes, 10 for warnings, 20 for errors.
"""


def add_parser(subparsers: "Subparsers", default_config: Path, look_here: LookHere) -> None:
    """Add the command. `look_here` is asked when no appliance runs here."""
    parser = subparsers.add_parser("doctor", help="say what is wrong, and what mends it", description=_DESCRIPTION)
    parser.add_argument(
        "--api",
        metavar="URL",
        type=api_address,
        default=os.environ.get(API_VARIABLE) or None,
        help=f"address of the API, see other commands (default: {DEFAULT_API}, else this host itself)",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default_config,
        help="the configuration file to go by when no appliance runs here (default: %(default)s)",
    )
    parser.set_defaults(run=partial(run_guarded, partial(_doctor, look_here)))


def _doctor(look_here: LookHere, options: argparse.Namespace) -> int:
    from appliance.cli.api_client import ApiError

    try:
        found: Mapping[str, Any] = _asked(options.api or DEFAULT_API, credentials(options))
    except ApiError as error:
        if options.api is not None or not _nobody_is_there(error):
            raise
        print(f"no appliance runs here ({DEFAULT_API}): looking at this host and {options.config} itself", file=sys.stderr)
        found = look_here(options.config)
    try:
        code = EXIT_CODES[found["severity"]]
        shown = _with_address(found, options.api)
        text = f"{json.dumps(shown)}\n" if options.json else as_text(shown)
    except (KeyError, TypeError) as error:
        raise ApiError(f"the answer is no report of a doctor: {error!r}") from error
    write(text.encode())
    return code


def _asked(address: str, shown: Credentials) -> dict[str, Any]:
    """The report of the appliance at this address. Raises ApiError."""
    from appliance.cli.api_client import ApiError, Question, asked

    with asked(address, Question("GET", "/doctor"), shown, as_json=True) as answer:
        try:
            found = json.loads(answer.text())
        except ValueError as error:
            raise ApiError("the answer is no report of a doctor") from error
    if not isinstance(found, dict):
        raise ApiError("the answer is no report of a doctor")
    return found


def _nobody_is_there(error: "ApiError") -> bool:
    """Whether nobody listens. One who may not connect, or is refused, has an appliance here."""
    import aiohttp

    cause = error.__cause__
    return isinstance(cause, aiohttp.ClientConnectorError) and cause.os_error.errno in (errno.ENOENT, errno.ECONNREFUSED)


def _with_address(found: Mapping[str, Any], address: str | None) -> Mapping[str, Any]:
    """The report with commands that ask the same appliance."""
    if address is None or address == os.environ.get(API_VARIABLE):
        return found
    here = f"{_TUNABLE_COMMAND}--api {quote(address)} "
    findings = [
        {**finding, "commands": [command.replace(_TUNABLE_COMMAND, here) for command in finding["commands"]]}
        for finding in found["findings"]
    ]
    return {**found, "findings": findings}
