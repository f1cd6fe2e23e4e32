"""The page of all commands with their options, from the parser of the command line itself."""

import argparse
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from appliance.cli.command_line import CommandLine, CommandParser
from appliance.cli.table import BY_NAME, Group
from tools.reference.markdown import COLUMNS, Entry, code, item, paragraph, sentence
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
`appliance --help` lists all commands, `appliance COMMAND --help` describes one. Options may stand before, between and behind the
other words. [How to use the command line](../how-to/command-line.md) says what is printed, and how a shell completes it.
"""
_EXIT_CODES = (
    ("0", "all went well"),
    ("1", "the host or the appliance refused something, or cannot be reached, or the output cannot be written"),
    ("2", "a wrong command line, or a configuration with mistakes"),
    ("3", "`plan`: it needs a restart; `drain --wait`: the drain was taken back"),
    ("4", "`drain --wait`: the real server was removed"),
    ("5", "`drain --wait`: `--timeout` is over"),
    ("10", "`doctor`: it has found warnings"),
    ("20", "`doctor`: it has found errors"),
    (
        "125, 126, 127",
        "`lab`: the lab failed, the command cannot be executed, or was not found; else the exit code of the command",
    ),
    ("130", "Ctrl-C"),
    ("141", "nobody reads the output any more, as in `appliance conns | head`"),
)
_PLACE = "Every command that asks a running appliance has these options. They may stand before its name too."


class Command(NamedTuple):
    """One command and its options, without ``--help`` and those that all have that ask an appliance."""

    name: str
    parser: CommandParser

    @property
    def options(self) -> list[argparse.Action]:
        """Options and positional arguments, in the order of ``--help``."""
        common = {option.dest for option in place_options()} if self.parser.asks else {}
        return [action for action in self.parser._actions if not _is_help(action) and action.dest not in common]


def commands() -> Iterator[Command]:
    """All commands, in the order of the table."""
    return (Command(name, parser) for name, parser in CommandLine().commands.items())


def place_options() -> list[argparse.Action]:
    """The options that all commands have that ask an appliance."""
    not_these = (argparse._HelpAction, argparse._VersionAction, argparse._SubParsersAction)
    return [action for action in CommandLine()._actions if not isinstance(action, not_these)]


def entries() -> list[Entry]:
    """All commands, and all their options as ``command option``."""
    described = [Entry(command.name, command.parser.description or "") for command in commands()]
    common = [Entry(label(option), option.help or "") for option in place_options()]
    return [*described, *common] + [
        Entry(f"{command.name} {label(option)}", option.help or "") for command in commands() for option in command.options
    ]


def page() -> str:
    """The page."""
    codes = "\n".join(item(f"{number}: {meaning}.") for number, meaning in _EXIT_CODES)
    head = [paragraph(_INTRODUCTION), "## Exit codes", codes]
    place = ["## Which appliance is asked", paragraph(_PLACE), _options(place_options())]
    return whole_page("Commands", *head, *place, *(block for group in Group for block in _group(group)))


def _group(group: Group) -> Iterator[str]:
    yield f"## {sentence(group.value).rstrip('.')}"
    for command in commands():
        if BY_NAME[command.name].group is group:
            yield from _section(command)


def _is_help(action: argparse.Action) -> bool:
    return isinstance(action, argparse._HelpAction)


def label(option: argparse.Action) -> str:
    """An option or argument as it is typed, for instance ``--limit N``."""
    value = option.metavar if isinstance(option.metavar, str) else option.dest.upper()
    if not option.option_strings:
        return value
    return option.option_strings[0] if option.nargs == 0 else f"{option.option_strings[0]} {value}"


def _section(command: Command) -> Iterator[str]:
    yield f"### {code(f'appliance {command.name}')}"
    yield paragraph(sentence(command.parser.description or ""))
    yield f"```text\n{_usage(command)}\n```"
    if command.options:
        yield _options(command.options)
    if command.parser.epilog:
        *prose, examples = command.parser.epilog.strip().split("\n\n")
        yield from map(paragraph, prose)
        head, *lines = examples.split("\n  ")
        yield head
        yield "\n".join(("```sh", *lines, "```"))


def _options(options: Iterable[argparse.Action]) -> str:
    return "\n".join(item(f"{code(label(option))}: {_help(option)}.") for option in options)


def _usage(command: Command) -> str:
    """The command line in general. Written here, because argparse writes another one in each version of Python."""
    if command.parser.usage:
        return "\n".join(line.strip() for line in command.parser.usage.splitlines())
    words = [f"appliance {command.name}"]
    for option in command.options:
        optional = option.option_strings or option.nargs in ("?", "*")
        # The argument `NAME[=VALUE]` has brackets of its own.
        word = f"{label(option)} ..." if option.nargs == "*" else label(option)
        words.append(f"[{word}]" if optional else word)
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= COLUMNS:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return "\n".join(lines)


def _help(option: argparse.Action) -> str:
    """What ``--help`` says of an option."""
    return (option.help or "").replace("%(default)s", str(option.default)).removesuffix(".")
