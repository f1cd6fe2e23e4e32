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

from appliance.cli import operator
from appliance.cli.output import COLUMNS, GREEN, RED, YELLOW, show, write
from appliance.views.doctor import as_text

if TYPE_CHECKING:
    from appliance.cli.api_client import ApiError

EXIT_CODES: Mapping[str, int] = {"ok": 0, "note": 0, "warning": 10, "error": 20}

LookHere = Callable[[Path], Mapping[str, Any]]
"""A report on this host by a configuration file, as `/doctor` answers it. Raises ConfigError."""

_WIDE = 120

_COLOURS = (("^error:", RED), ("^warning:", YELLOW), ("^ok:", GREEN))

_TUNABLE_COMMAND = "appliance sysctl "
"""How a printed command begins that asks the appliance."""

_DESCRIPTION = """\
Say what is wrong with the gateway and its host, how bad it is, what was seen, and which commands mend it. Asks the running
appliance. When none listens on the usual address, it looks at the host and the configuration file itself, twice within a few
seconds. The exit code is 0 when nothing is wrong or there are only notes, 10 for warnings, 20 for errors.
"""


def add_doctor(parser: argparse.ArgumentParser, default_config: Path, look_here: LookHere) -> None:
    """Add the options of `doctor`. `look_here` is asked when no appliance runs here."""
    operator.add_command(parser, partial(_doctor, look_here), _DESCRIPTION, "doctor")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default_config,
        help="the configuration file to go by when no appliance runs here (default: %(default)s)",
    )


def _doctor(look_here: LookHere, options: argparse.Namespace) -> int:
    from appliance.cli.api_client import ApiError

    try:
        found: Mapping[str, Any] = operator.answered_json(options, "/doctor")
    except ApiError as error:
        if options.api != operator.DEFAULT_API or not _nobody_is_there(error):
            raise
        print(f"no appliance runs here ({options.api}): looking at this host and {options.config} itself", file=sys.stderr)
        found = look_here(options.config)
    try:
        code = EXIT_CODES[found["severity"]]
        shown = _for_the_same(found, options)
        text = f"{json.dumps(shown)}\n" if options.json else as_text(shown, _WIDE if options.wide else COLUMNS)
    except (KeyError, TypeError, AttributeError) as error:
        raise ApiError(f"the answer is no report of a doctor: {error!r}") from error
    if options.json:
        write(text.encode(), is_json=True)
    else:
        show(text, is_wide=True, colours=_COLOURS)  # folded where that harms no command
    return code


def _nobody_is_there(error: "ApiError") -> bool:
    """Whether nobody listens. One who may not connect, or is refused, has an appliance here."""
    import aiohttp

    cause = error.__cause__
    return isinstance(cause, aiohttp.ClientConnectorError) and cause.os_error.errno in (errno.ENOENT, errno.ECONNREFUSED)


_WHERE = ("api", "token_file", "ca_file", "cert_file", "key_file")
"""Options that say which appliance is asked, and as whom."""


def _for_the_same(found: Mapping[str, Any], options: argparse.Namespace) -> Mapping[str, Any]:
    """The report with commands that ask the same appliance in the same name."""
    usual = ("", operator.DEFAULT_API, os.environ.get(operator.API_VARIABLE))
    given = {name: value for name in _WHERE if (value := getattr(options, name) or "") not in usual}
    words = "".join(f"--{name.replace('_', '-')} {quote(value)} " for name, value in given.items())
    findings = [
        {**finding, "commands": [command.replace(_TUNABLE_COMMAND, _TUNABLE_COMMAND + words) for command in finding["commands"]]}
        for finding in found["findings"]
    ]
    return {**found, "findings": findings}
