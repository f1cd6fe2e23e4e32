"""cli/output.py: what reaches a terminal."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from appliance.cli import output
from appliance.cli.output import GREEN, RED, clean, complain, fold, show, show_lines, write

HOSTILE = "a\x1b]0;owned\x07b\rc\x9bd\u202ee\x00f\x7fg"


class Terminal(io.TextIOWrapper):
    """Standard output of a program that runs on a terminal, or not."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def shown(self) -> str:
        return self.bytes.getvalue().decode()


class Given:
    """An answer in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = lambda: iter(pieces)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stands in the module alone, because pytest sets standard output anew between a fixture and its test."""
    made = Terminal()
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=made))
    return made


def test_nothing_that_a_terminal_would_obey_is_left() -> None:
    assert clean(HOSTILE) == "a?]0;owned?b?c?d?e?f?g"
    assert clean("line\nline \u00e9\u4e2d") == "line\nline \u00e9\u4e2d"


def test_in_json_it_is_another_spelling_of_the_same() -> None:
    cleaned = clean(f'"{HOSTILE[9:].replace(chr(0), "")}\U0001f600"', is_json=True)
    assert cleaned.isascii()
    assert cleaned.isprintable()
    assert json.loads(cleaned) == HOSTILE[9:].replace(chr(0), "") + "\U0001f600"


def test_what_is_written_is_cleaned(terminal: Terminal) -> None:
    write(b"a\x1b[2Jb\xffc\n")
    show("d\x1b[2Je")
    assert terminal.shown == "a?[2Jb\ufffdc\nd?[2Je\n"


def test_what_is_said_on_standard_error_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    complain("f\x1b[2Jg")
    assert capsys.readouterr().err == "appliance: f?[2Jg\n"


def test_a_character_may_be_cut_between_two_pieces(terminal: Terminal) -> None:
    text = "caf\u00e9 \x9b1m\n".encode()
    show_lines(Given(*(text[place : place + 1] for place in range(len(text)))))  # type: ignore[arg-type]
    output.copy(Given(*(text[place : place + 1] for place in range(len(text)))))  # type: ignore[arg-type]
    assert terminal.shown == "caf\u00e9 ?1m\n" * 2


def test_lines_are_changed_and_folded_as_they_come(terminal: Terminal) -> None:
    show_lines(Given(b"one t", b"wo\nthree\nfo", b"ur"), str.upper)  # type: ignore[arg-type]
    assert terminal.shown == "ONE TWO\nTHREE\nFOUR\n"


def test_a_line_that_does_not_end_does_not_fill_the_memory(terminal: Terminal) -> None:
    show_lines(Given(*[b"x" * 50_000] * 8), lambda line: str(len(line)))  # type: ignore[arg-type]
    kept = [int(line) for line in terminal.shown.splitlines()]
    assert max(kept) <= 2 * 50_000
    assert sum(kept) == 8 * 50_000


def test_long_lines_are_folded_unless_all_of_them_is_wanted(terminal: Terminal) -> None:
    line = "  " + "word " * 40
    show(line)
    folded = terminal.shown.splitlines()
    assert max(map(len, folded)) <= 80
    assert [piece[:6] for piece in folded] == ["  word", *["      "] * (len(folded) - 1)]
    assert " ".join(terminal.shown.split()) == line.strip()
    show(line, is_wide=True)
    assert terminal.shown.splitlines()[-1] == line


@pytest.mark.parametrize("line", ["x" * 500, " " * 200 + "y", " " * 70 + "word " * 9])
def test_whatever_a_line_has_it_fits(line: str) -> None:
    assert max(map(len, fold(line))) <= 80


@pytest.mark.parametrize(
    ("is_terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_of_people_who_want_them(
    is_terminal: bool, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    show("good\nbad\nnone", colours=(("good", GREEN), ("bad", RED)))
    assert terminal.shown == ("\x1b[32mgood\x1b[0m\n\x1b[31mbad\x1b[0m\nnone\n" if coloured else "good\nbad\nnone\n")
