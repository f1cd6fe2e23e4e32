"""support/terminal.py: what a program writes can be seen, with its colours, and it is told keys, sizes and signals."""

import signal

import pytest

from tests.support.terminal import in_terminal

SHELL = ("/bin/sh", "-c")


def test_what_is_written_is_seen_with_its_style_and_its_colours_are_known() -> None:
    with in_terminal([*SHELL, r"printf 'plain \033[31;1mred\033[0m\033[2;1H\033[39mbelow'; exit 3"]) as terminal:
        assert terminal.ends() == 3
    assert terminal.colours == {31}
    with in_terminal([*SHELL, r"printf 'plain \033[31;1mred\033[0m\033[2;1Hbelow'; read x"]) as terminal:
        terminal.see("plain red", "below")
        assert terminal.lines[1].rstrip() == "below"
        assert terminal.styles("red") == {("red", "default", True, False)}
        with pytest.raises(AssertionError, match="is not seen in"):
            terminal.styles("blue")


def test_keys_and_sizes_reach_the_program() -> None:
    with in_terminal([*SHELL, "read word; stty size; echo $word-$NAME; read word"], 90, 30, NAME="n") as terminal:
        terminal.resize(100, 40)
        terminal.types("typed\r")
        terminal.see("40 100", "typed-n")
        assert len(terminal.lines) == 40


def test_a_signal_that_ends_the_program_is_no_exit_code() -> None:
    with in_terminal([*SHELL, "echo ready; read word"]) as terminal:
        terminal.see("ready")
        terminal.signals(signal.SIGKILL)
        with pytest.raises(AssertionError, match=f"signal ended it: {int(signal.SIGKILL)}"):
            terminal.ends()
