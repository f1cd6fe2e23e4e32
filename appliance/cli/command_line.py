"""The parser of the whole command line, made from the table of commands.

Options may stand before and behind the words they belong to. Those that say which appliance is asked may stand before the command
too. A word that does not exist is refused, with the one that was probably meant.
"""

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, NamedTuple, NoReturn

from appliance import __version__
from appliance.cli import operator
from appliance.cli.credentials import add_options
from appliance.cli.output import clean
from appliance.cli.table import BY_NAME, COMMANDS, Entry, Group
from appliance.model.did_you_mean import did_you_mean

COLUMNS = 80
"""No help text is wider."""

_DESCRIPTION = "Inline layer-4 gateway: FULLNAT over NFQUEUE."
_MORE = "`appliance COMMAND --help` describes one command."
_EXAMPLE = "Example:\n  appliance conns --service web"

_PLACE: dict[str, Any] = {
    "api": None,
    "token_file": None,
    "ca_file": None,
    "cert_file": None,
    "key_file": None,
    "json": False,
    "wide": False,
}
"""The options that every command has that asks an appliance, and what stands in their place when they are not given."""

Subparsers = argparse._SubParsersAction


class _Formatter(argparse.HelpFormatter):
    """Folds texts at 80 columns or where the terminal ends, and leaves lines that are indented as they are: examples."""

    def __init__(self, prog: str, **how: Any) -> None:
        super().__init__(prog, **{**how, "width": min(shutil.get_terminal_size().columns, COLUMNS) - 2})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(self._paragraph(paragraph, width, indent) for paragraph in text.strip("\n").split("\n\n"))

    def _paragraph(self, text: str, width: int, indent: str) -> str:
        prose, *example = text.split("\n  ")
        return "\n  ".join([super()._fill_text(prose, width, indent), *example])


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. It has no options before it is used."""

    def __init__(self, *, entry: Entry | None = None, **how: Any) -> None:
        """Without `entry`, the parser is complete as it is."""
        super().__init__(**how, formatter_class=_Formatter, allow_abbrev=False)
        self.entry = entry
        self._adds = entry.adds if entry else ""
        self._is_parsing = False

    def complete(self) -> "CommandParser":
        """Add the options of the command, once; returns the parser."""
        adds, self._adds = self._adds, ""
        if adds:
            resolve_name(adds)(self)
        return self

    def format_help(self) -> str:
        """The help text."""
        self.complete()
        return super().format_help()

    @property
    def asks(self) -> bool:
        """Whether the command asks a running appliance."""
        return "--api" in self._option_string_actions

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; but options may stand between words, and an option that does not exist ends the program."""
        self.complete()
        if self._is_parsing:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True  # the intermixed form calls this function again
        try:
            mixes = all(action.nargs not in (argparse.REMAINDER, argparse.PARSER) for action in self._actions)
            found, unknown = (self.parse_known_intermixed_args if mixes else super().parse_known_args)(args, namespace)
        finally:
            self._is_parsing = False
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(unknown[0])}")
        return found, unknown

    def fill(self, found: argparse.Namespace) -> None:
        """Say where the command asks that was told nothing of it. Ends the program when it asks nobody, and was told."""
        if not self.asks:
            for name in filter(lambda name: hasattr(found, name), _PLACE):
                self.error(f"it asks no appliance, so it takes no --{name.replace('_', '-')}")
            return
        for name, value in _PLACE.items():
            if not hasattr(found, name):
                setattr(found, name, value)
        if found.api is None:
            try:
                found.api = operator.api_address(os.environ.get(operator.API_VARIABLE) or operator.DEFAULT_API)
            except argparse.ArgumentTypeError as error:
                self.error(f"{operator.API_VARIABLE} in the environment: {error}")

    def error(self, message: str) -> NoReturn:
        """As in argparse; what was typed may come from elsewhere, so it is cleaned."""
        super().error(clean(message))

    def _meant(self, word: str) -> str:
        return did_you_mean(word.partition("=")[0], self._option_string_actions) if word.startswith("-") else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As in argparse, with the value that was probably meant."""
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, Subparsers):
            otherwise = "; `appliance --help` lists all commands"
            raise argparse.ArgumentError(None, f"there is no command {value!r}{did_you_mean(value, BY_NAME) or otherwise}")
        known = ", ".join(map(str, action.choices))
        nearest = did_you_mean(str(value), map(str, action.choices))
        raise argparse.ArgumentError(action, f"{value!r} is none of {known}{nearest}")


class SoFar(NamedTuple):
    """What stands on a command line that is still typed."""

    place: Mapping[str, Any]
    """The options that say which appliance is asked."""
    words: Sequence[str]
    """The words that are neither options nor their values, the command first."""


def so_far(typed: Sequence[str]) -> SoFar:
    """Read what was typed behind `appliance`, whatever is missing or wrong in it."""
    line = CommandLine()
    parser: CommandParser = line
    place, words = dict(_PLACE), list[str]()
    waits = ""
    for word in typed:
        name, has_value, value = word.partition("=")
        action = parser._option_string_actions.get(name)
        if waits:
            place, waits = place | {waits: word}, ""
        elif action is not None and action.nargs != 0:
            place, waits = (place | {action.dest: value}, "") if has_value else (place, action.dest)
        elif not word.startswith("-"):
            parser = parser if words else line.command(word) or line
            words.append(word)
    return SoFar({name: place[name] for name in _PLACE}, words)


class CommandLine(CommandParser):
    """The parser of the whole command line."""

    def __init__(self) -> None:
        super().__init__(prog="appliance", usage="appliance [OPTIONS] COMMAND ...", description=_DESCRIPTION)
        self.epilog = f"{_MORE}\n\n{_EXAMPLE}"
        self.add_argument("--version", action="version", version=f"appliance {__version__}", help="print the version and exit")
        place = self.add_argument_group("for commands that ask a running appliance, before or behind their name")
        operator.add_place_options(place)
        add_options(place)
        self._commands = self.add_subparsers(
            required=True, prog="appliance", metavar="COMMAND", dest="command_name", parser_class=CommandParser
        )
        for entry in COMMANDS:
            self._commands.add_parser(entry.name, help=entry.summary, entry=entry)

    @property
    def commands(self) -> Mapping[str, CommandParser]:
        """By name, the parsers of all commands, with their options."""
        parsers: Mapping[str, CommandParser] = self._commands.choices
        return {name: parser.complete() for name, parser in parsers.items()}

    def command(self, name: str) -> CommandParser | None:
        """The parser of one command, with its options; None when there is no such command."""
        parser: CommandParser | None = self._commands.choices.get(name)
        return parser and parser.complete()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, with the place that is asked."""
        found, unknown = super().parse_known_args(args, namespace)
        self._commands.choices[found.command_name].fill(found)
        return found, unknown

    def format_help(self) -> str:
        """The help text, with the commands in groups."""
        form = self._get_formatter()
        form.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        form.add_text(self.description)
        for group in Group:
            form.start_section(group.value)
            form.add_arguments(one for one in self._commands._choices_actions if BY_NAME[one.dest].group is group)
            form.end_section()
        for section in self._action_groups:
            form.start_section(section.title)
            form.add_arguments(action for action in section._group_actions if action is not self._commands)
            form.end_section()
        form.add_text(self.epilog)
        return form.format_help()
