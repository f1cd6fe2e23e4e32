"""The command `appliance completion`: the script with which a shell completes the command line, and the names it asks for.

shtab writes the script from the parsers. Names of services and real servers come from the appliance that the line so far asks,
within a second or not at all. They are completed in a shell, so one that a shell would take for more than a word is left out.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from appliance.cli import operator
from appliance.cli.command_line import CommandLine, SoFar, so_far
from appliance.cli.credentials import credentials
from appliance.cli.operator import describe
from appliance.cli.output import write
from appliance.model.counters import EXT_COUNTERS
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES

_DESCRIPTION = """\
Print the script with which a shell completes commands, options, and the names of services, real servers, tunables and counters.
The installation puts it where shells look for it. With another word than a shell, print such names, one a line: the script asks
for them with the command line so far, and gets none when the appliance does not answer within a second.
"""

_SHELLS = ("bash", "zsh")
_LIMIT_S = 1.0
_MOST_BYTES = 8 << 20
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
"""Nothing of this means anything to a shell."""

_KINDS: Mapping[str, str] = {"FILE": "file", "SERVICE": "services", "ADDRESS:PORT": "servers", "SERVER": "servers"}
"""By what stands for the value in the help text, what completes it."""

_KINDS_OF: Mapping[tuple[str, str], str] = {
    ("sysctl", "NAME[=VALUE]"): "tunables",
    ("host", "NAME[=VALUE]"): "host-parameters",
    ("counters", "NAME"): "counters",
}
"""The same by command, where the word alone does not say it."""

_BASH = Path(__file__).with_name("completion.bash")
_ZSH_NAMES = """\
_appliance_{function}() {{
  local -a names
  names=(${{(f)"$(appliance completion {kind} -- "${{(@Q)${{(z)BUFFER}}}}" 2>/dev/null </dev/null)"}})
  compadd -- "${{names[@]}}"
}}
"""
"""The line itself is read, because the words that zsh has at hand begin with the command."""

_BASH_NAMES = """\
_appliance_{function}() {{ _appliance_names {kind} "$1"; }}
"""


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    describe(
        parser,
        partial(operator.run_guarded, _completion),
        _DESCRIPTION,
        "completion bash >/etc/bash_completion.d/appliance",
    )
    parser.add_argument(
        "what", choices=(*_SHELLS, *_NAMES), metavar="SHELL", help="bash or zsh; or what to name: " + ", ".join(_NAMES)
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD", help="behind --, the command line so far")


def script(shell: str) -> str:
    """The script for a shell, "bash" or "zsh"."""
    import shtab

    line = CommandLine()
    for name, command in {"": line, **line.commands}.items():
        for action in command._actions:
            kind = _KINDS_OF.get((name, str(action.metavar)), _KINDS.get(str(action.metavar)))
            if kind:
                action.complete = shtab.FILE if kind == "file" else _asked(kind)  # type: ignore[attr-defined]
    written = shtab.complete(line, shell)
    return f"{written}\n{_BASH.read_text()}" if shell == "bash" else written


def _asked(kind: str) -> dict[str, Any]:
    function = kind.replace("-", "_")
    made = {"function": function, "kind": kind}
    preamble = {"bash": _BASH_NAMES.format(**made), "zsh": _ZSH_NAMES.format(**made)}
    return {"bash": f"_appliance_{function}", "zsh": f"_appliance_{function}", "preamble": preamble}


def _completion(options: argparse.Namespace) -> int:
    if options.what in _SHELLS:
        write(script(options.what).encode())
        return 0
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    write(operator.made_of_json(words[1:], partial(_names, options.what)).encode())
    return 0


def _names(kind: str, words: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in _NAMES[kind](words) if _NAME.fullmatch(name))


def _services(words: Sequence[str]) -> Iterable[str]:
    return (str(service["name"]) for service in _configured(so_far(words)))


def _servers(words: Sequence[str]) -> Iterator[str]:
    """Those of the service that stands behind the command, if one does."""
    line = so_far(words)
    services = _configured(line)
    for service in [one for one in services if one["name"] in line.words[1:2]] or services:
        yield from (f"{server['address']}:{server['port']}" for server in service.get("real_server", ()))


def _configured(line: SoFar) -> list[dict[str, Any]]:
    """The services of the appliance that the line asks. Raises ApiError."""
    from appliance.cli.api_client import ApiError, Question, asked

    place = argparse.Namespace(**line.place)
    address = operator.api_address(place.api or os.environ.get(operator.API_VARIABLE) or operator.DEFAULT_API)
    with asked(address, Question("GET", "/services"), credentials(place), as_json=True, limit_s=_LIMIT_S) as answer:
        read = b""
        for piece in answer.pieces():
            read += piece
            if len(read) > _MOST_BYTES:
                raise ApiError("the answer is too long")
    services: list[dict[str, Any]] = json.loads(read)
    return services


_NAMES: Mapping[str, Callable[[Sequence[str]], Iterable[str]]] = {
    "services": _services,
    "servers": _servers,
    "tunables": lambda _: TUNABLES,
    "counters": lambda _: (counter.name for counter in EXT_COUNTERS),
    "host-parameters": lambda _: HOST_PARAMETERS,
}
