"""The page of all commands with their options, from the parser of the command line itself."""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from appliance.__main__ import parser as command_line
from tools.reference.markdown import COLUMNS, Entry, code, item, paragraph, sentence
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
Exit codes of all commands: 0 when all went well; 1 when the host or the appliance refused something, or cannot be reached; 2
for a wrong command line or a configuration with mistakes. Commands that print sessions and tunables also have 130 for Ctrl-C,
and 141 when nobody reads their output any more.
`appliance doctor` has 10 for warnings and 20 for errors that it has found.
`appliance lab` returns the exit code of the command that it ran, or one of its
own, see there.
"""


class Command(NamedTuple):
    """One command and its options, without ``--help``."""

    name: str
    parser: argparse.ArgumentParser

    @property
    def options(self) -> list[argparse.Action]:
        """Options and positional arguments, in the order of ``--help``."""
        return [action for action in self.parser._actions if not isinstance(action, argparse._HelpAction)]


def commands() -> Iterator[Command]:
    """All commands."""
    [choices] = [action for action in command_line()._actions if isinstance(action, argparse._SubParsersAction)]
    return (Command(name, parser) for name, parser in choices.choices.items())


def entries() -> list[Entry]:
    """All commands, and all their options as ``command option``."""
    described = [Entry(command.name, command.parser.description or "") for command in commands()]
    return described + [
        Entry(f"{command.name} {label(option)}", option.help or "") for command in commands() for option in command.options
    ]


def page() -> str:
    """The page."""
    return whole_page("Commands", paragraph(_INTRODUCTION), *(block for command in commands() for block in _section(command)))


def label(option: argparse.Action) -> str:
    """An option or argument as it is typed, for instance ``--limit N``."""
    value = option.metavar if isinstance(option.metavar, str) else option.dest.upper()
    if not option.option_strings:
        return value
    return option.option_strings[0] if option.nargs == 0 else f"{option.option_strings[0]} {value}"


def _section(command: Command) -> Iterator[str]:
    yield f"## {code(f'appliance {command.name}')}"
    yield paragraph(sentence(command.parser.description or ""))
    yield f"```text\n{_usage(command)}\n```"
    if command.options:
        yield "\n".join(item(f"{code(label(option))}: {_help(option)}.") for option in command.options)
    if command.parser.epilog:
        yield paragraph(command.parser.epilog)


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
