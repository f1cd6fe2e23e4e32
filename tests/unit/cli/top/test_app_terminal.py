"""`appliance top` in a terminal emulator: what reaches the terminal itself."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from appliance.api import make_app, serve
from tests.support.gateway import SERVICES, FakeGateway
from tests.support.terminal import APPLIANCE, Terminal, in_terminal

ODD = "\x1b]0;owned\x07\x1b[31m[bold]\x9b2J"


@asynccontextmanager
async def top_command(gateway: FakeGateway) -> AsyncIterator[list[str]]:
    """The command line for the API of a gateway. The API runs in this process, so the terminal needs a thread of its own."""
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    try:
        yield [*APPLIANCE, "top", "--api", f"http://127.0.0.1:{runner.addresses[0][1]}"]
    finally:
        await runner.cleanup()


@pytest.fixture
def gateway() -> FakeGateway:
    gateway = FakeGateway()
    gateway.services = (replace(SERVICES[0], name=ODD), SERVICES[1])
    return gateway


def quits(terminal: Terminal) -> None:
    terminal.types("q")
    assert terminal.ends() == 0


async def test_colours_are_those_of_the_terminal_and_names_are_no_commands_for_it(gateway: FakeGateway) -> None:
    def look(command: list[str]) -> None:
        with in_terminal(command, 160) as terminal:
            terminal.see("?]0;owned??[31m[bold]?2J ", " lane on ")
            assert terminal.styles("1 services") == {("default", "default", True, True)}
            assert terminal.styles("ATTACK") == {("red", "default", True, False)}
            quits(terminal)
        assert b"owned\x07" not in terminal.written
        assert terminal.colours
        assert not terminal.colours & {38, 48}, "no colour but those of the palette"
        assert b"\x1b[?1000h" not in terminal.written, "the mouse stays with the terminal"

    async with top_command(gateway) as command:
        await asyncio.to_thread(look, command)


async def test_with_no_color_there_is_none(gateway: FakeGateway) -> None:
    def look(command: list[str]) -> None:
        with in_terminal(command, NO_COLOR="1") as terminal:
            terminal.see("ATTACK", " lane on ")
            assert terminal.styles("ATTACK") == {("default", "default", True, False)}, "bold stays"
            quits(terminal)
        assert terminal.colours == set()

    async with top_command(gateway) as command:
        await asyncio.to_thread(look, command)


async def test_ascii_is_ascii(gateway: FakeGateway) -> None:
    def look(command: list[str]) -> None:
        with in_terminal([*command, "--ascii"]) as terminal:
            terminal.see(" lane on ", "names")
            quits(terminal)
        assert terminal.written.isascii()

    async with top_command(gateway) as command:
        await asyncio.to_thread(look, command)


async def test_a_terminal_is_left_as_it_was_when_a_signal_ends_it(gateway: FakeGateway) -> None:
    def look(command: list[str]) -> None:
        with in_terminal(command) as terminal:
            terminal.see(" lane on ")
            terminal.signals(signal.SIGTERM)
            assert terminal.ends() == 0
        assert b"\x1b[?1049l" in terminal.written[-500:]

    async with top_command(gateway) as command:
        await asyncio.to_thread(look, command)
