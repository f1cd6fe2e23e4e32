"""The help texts of the `appliance` command: complete, and fit for a terminal of 80 columns."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from appliance.cli.command_line import CommandLine
from appliance.cli.table import BY_NAME, COMMANDS, Entry, Group
from appliance.rest.session_routes import TOP_LINES

PARSERS = CommandLine().commands
NAMES = list(PARSERS)
each_command = pytest.mark.parametrize("name", NAMES)


def parser_of(name: str) -> argparse.ArgumentParser:
    return PARSERS[name]


def test_each_command_has_a_line_in_the_list() -> None:
    text = CommandLine().format_help()
    for entry in COMMANDS:
        assert re.search(rf"^  {entry.name} +{re.escape(entry.summary)}$", text, re.MULTILINE), entry.name


def test_the_list_has_the_groups_in_their_order_and_each_command_in_its_own() -> None:
    text = CommandLine().format_help()
    places = [text.index(f"\n{group.value}:\n") for group in Group]
    assert places == sorted(places)
    for entry in COMMANDS:
        heading = list(Group).index(entry.group)
        place = text.index(f"\n  {entry.name} ")
        assert places[heading] < place < (places[heading + 1] if heading + 1 < len(places) else text.index("\noptions:"))


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(COMMANDS)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_what_adds_a_command_is_something_that_the_command_line_may_use(entry: Entry) -> None:
    assert entry.adds.split(":")[0].split(".")[1] in ("cli", "lab", "host_commands")
    assert callable(resolve_name(entry.adds))


@each_command
def test_each_command_has_an_example_that_its_parser_understands(name: str) -> None:
    examples = re.findall(r"^  (appliance .+)$", parser_of(name).format_help(), re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" >")[0])
        assert words[1] == name
        assert CommandLine().parse_args(words[1:]).command_name == name
        assert len(example) <= 78


@each_command
def test_each_command_says_what_it_does_in_a_sentence(name: str) -> None:
    description = (parser_of(name).description or "").strip()
    assert description[:1].isupper()
    assert description.endswith(".")


@each_command
def test_each_option_and_argument_has_a_help_text(name: str) -> None:
    assert [action.dest for action in parser_of(name)._actions if not action.help] == []


def test_the_options_of_no_command_have_help_texts() -> None:
    assert [action.option_strings for action in CommandLine()._actions if not action.help and action.option_strings] == []


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_80_columns(name: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = (parser_of(name) if name else CommandLine()).format_help()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("top-")])
def test_the_default_of_top_is_the_one_of_the_api(name: str) -> None:
    assert f"(default: {TOP_LINES})" in parser_of(name).format_help()


def test_an_output_that_cannot_be_written_is_one_line_and_no_trace() -> None:
    command = [sys.executable, "-m", "appliance", "check", str(Path(__file__).parents[3] / "etc/lvs.toml")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "appliance: the output cannot be written: No space left on device\n")
