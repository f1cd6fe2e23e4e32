"""The help texts of the `appliance` command: complete, and fit for a terminal of 80 columns."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.__main__ import parser
from appliance.rest.session_routes import TOP_LINES


def subparsers(of: argparse.ArgumentParser) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    [found] = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return found


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield from subparsers(parser()).choices.items()


NAMES = [name for name, _ in commands()]
each_command = pytest.mark.parametrize("name", NAMES)


def parser_of(name: str) -> argparse.ArgumentParser:
    return dict(commands())[name]


def test_commands_stand_in_the_order_of_use() -> None:
    gateway = ["run", "check", "render-nft", "cleanup"]
    tops = ["top-clients", "top-services", "top-real-servers"]
    tables = ["health", "lane", "slabinfo", "sockstat", "conntrack"]
    operators = ["conns", *tops, "cut", "sysctl", *tables, "metrics", "host", "doctor"]
    changes = ["plan", "apply", "confirm", "save", "services", "servers"]
    assert [*gateway, *operators, "lab", "token", "drain", "events", *changes, "trace"] == NAMES


def test_each_command_has_a_line_in_the_list() -> None:
    lines = {action.dest: action.help for action in subparsers(parser())._choices_actions}
    assert list(lines) == NAMES
    assert all(lines.values())


@each_command
def test_each_command_says_what_it_does_in_a_sentence(name: str) -> None:
    description = (parser_of(name).description or "").strip()
    assert description[:1].isupper()
    assert description.endswith(".")


@each_command
def test_each_option_and_argument_has_a_help_text(name: str) -> None:
    assert [action.dest for action in parser_of(name)._actions if not action.help] == []


def test_the_options_of_no_command_have_help_texts() -> None:
    assert [action.option_strings for action in parser()._actions if not action.help and action.option_strings] == []


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = (parser_of(name) if name else parser()).format_help()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("top-")])
def test_the_default_of_top_is_the_one_of_the_api(name: str) -> None:
    assert f"(default: {TOP_LINES})" in parser_of(name).format_help()


def test_an_output_that_cannot_be_written_is_one_line_and_no_trace() -> None:
    command = [sys.executable, "-m", "appliance", "check", str(Path(__file__).parents[3] / "etc/lvs.toml")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "appliance: the output cannot be written: No space left on device\n")
