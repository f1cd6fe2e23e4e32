"""A program in a terminal: pexpect gives it a pseudo-terminal of its own, and pyte is the emulator that reads what it writes."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pexpect
import pyte
import pytest

_LOOKS = 3000
"""Looks, 0.1 s apart at most, before a wait gives up. It only ends a test that failed."""

_LOOK_S = 0.1

_STYLE = re.compile(rb"\x1b\[([0-9;]*)m")


class Terminal:
    """What can be seen and typed."""

    def __init__(self, child: "pexpect.spawn[bytes]", columns: int, lines: int) -> None:
        self._child = child
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        """All that the program has written so far."""

    @property
    def lines(self) -> list[str]:
        """The lines that can be seen."""
        return list(self._screen.display)

    @property
    def text(self) -> str:
        """All of them."""
        return "\n".join(line.rstrip() for line in self.lines)

    def styles(self, word: str) -> set[tuple[str, str, bool, bool]]:
        """Foreground, background, bold and reverse of the characters of a word where it is seen first."""
        for number, line in enumerate(self.lines):
            if (place := line.find(word)) >= 0:
                cells = [self._screen.buffer[number][column] for column in range(place, place + len(word))]
                return {(cell.fg, cell.bg, cell.bold, cell.reverse) for cell in cells}
        raise AssertionError(f"{word!r} is not seen in\n{self.text}")

    def types(self, keys: str) -> None:
        """Type some keys."""
        self._child.send(keys)

    def signals(self, number: int) -> None:
        """Send the program a signal."""
        self._child.kill(number)

    def resize(self, columns: int, lines: int) -> None:
        """The user makes the window another size."""
        self._screen.resize(lines, columns)
        self._child.setwinsize(lines, columns)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Read until the condition holds. Fails and shows the screen when it never does."""
        for _ in range(_LOOKS):
            if condition():
                return
            self._read()
        pytest.fail(f"waited in vain until {what}; the screen is\n{self.text}")

    def _read(self) -> None:
        try:
            piece: bytes = self._child.read_nonblocking(1 << 16, _LOOK_S)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            pytest.fail(f"the program has ended; the screen is\n{self.text}")
        self.written += piece
        self._stream.feed(piece)

    @property
    def colours(self) -> set[int]:
        """The numbers of all colours that the program has set, as in ECMA-48, without the terminal's own (39 and 49)."""
        numbers = {int(number) for found in _STYLE.findall(self.written) for number in found.split(b";") if number.isdigit()}
        return numbers & {*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108)}

    def see(self, *words: str) -> None:
        """Wait until all these can be seen."""
        self.wait_until(f"{words} can be seen", lambda: all(word in self.text for word in words))

    def ends(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        self._child.expect(pexpect.EOF, timeout=600)
        self.written += self._child.before
        self._child.close()
        code = self._child.exitstatus
        assert code is not None, f"a signal ended it: {self._child.signalstatus}"
        return int(code)


@contextmanager
def in_terminal(command: Sequence[str], columns: int = 80, lines: int = 24, **environment: str) -> Iterator[Terminal]:
    """Run a program in a terminal of this size; it is killed at the end of the block."""
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    terminal = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    child = pexpect.spawn(
        command[0], [*command[1:]], dimensions=(lines, columns), env=known | terminal | environment, timeout=None
    )  # fmt: skip
    try:
        yield Terminal(child, columns, lines)
    finally:
        child.close(force=True)


APPLIANCE = (sys.executable, "-m", "appliance")
