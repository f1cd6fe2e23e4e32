"""cli/completion.py: a real bash completes the command line, with names of the appliance that the line asks."""

import asyncio
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.__main__ import main
from appliance.cli import completion
from appliance.cli.command_line import so_far
from appliance.cli.completion import script
from appliance.cli.operator import API_VARIABLE
from appliance.cli.table import COMMANDS
from appliance.model.counters import EXT_COUNTERS
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from tests.unit.cli.conftest import ROOT, Operator

PATIENCE_S = 120.0
"""How long a shell may take for an answer, on a machine that does much else. Nobody waits for it while all is well."""

SHOW_LINE = "\x07"
"""The key that has the shell show its line, as it is then."""

SETTINGS = r"""
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind 'set completion-query-items 0'
bind 'set page-completions off'
bind -x '"\C-g": printf "<<%s>>\n" "$READLINE_LINE"'
echo ready-"to"-type
"""


class Bash:
    """An interactive bash on a terminal of its own."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._read = ""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern has appeared, and forget what was read until then."""
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self._read)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"bash has not shown {pattern}: {self._read!r}"
            self._read += os.read(self._terminal, 65536).decode(errors="replace")
        self._read = self._read[found.end() :]
        return found

    def completes(self, typed: str) -> str:
        """The line after the key for completion."""
        self.type(f"{typed}\t{SHOW_LINE}")
        line = self.wait_for(r"<<(.*?)>>")[1]
        self.type("\x15")  # empties the line
        return line

    def comes_to(self, wanted: str, typed: str) -> str:
        """The line after the key, tried again: on a slow machine a name may not come within the second that it is waited for."""
        until = time.monotonic() + PATIENCE_S
        while (line := self.completes(typed)) != wanted and time.monotonic() < until:
            pass
        return line

    def offers(self, typed: str) -> set[str]:
        """The words that are shown when the key is pressed twice."""
        self.type(f"{typed}\t\t{SHOW_LINE}")
        shown = self.wait_for(r"(?s)(.*)<<.*?>>")[1].replace(typed, "", 1)
        self.type("\x15")
        return set(shown.split())


@contextmanager
def bash(directory: Path, api: str) -> Iterator[Bash]:
    """A shell that has read the script, and whose `appliance` is this one."""
    program = directory / "appliance"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m appliance "$@"\n')
    program.chmod(0o755)
    (directory / "script").write_text(script("bash"))
    (directory / "settings").write_text(f". {directory}/script\n{SETTINGS}")
    child, terminal = pty.fork()
    if child == 0:
        environment = {
            "PATH": f"{directory}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "$ ", "HOME": str(directory), API_VARIABLE: api,
            "INPUTRC": "/dev/null", "COLUMNS": "200",
        }  # fmt: skip
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment)
    try:
        shell = Bash(terminal)
        shell.type(f". {directory}/settings\n")
        shell.wait_for("ready-to-type")
        yield shell
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
async def test_a_real_bash_completes(operator: Operator, tmp_path: Path) -> None:
    """One shell for all, because its start costs most of the time."""
    await asyncio.to_thread(try_bash, tmp_path, operator.unix, operator.http)


def try_bash(directory: Path, api: str, other: str) -> None:
    with bash(directory, api) as shell:
        for typed, line in (
            ("appliance heal", "appliance health "),
            ("appliance conns --cli", "appliance conns --client "),
            ("appliance --jso", "appliance --json "),
            ("appliance --json conns --lim", "appliance --json conns --limit "),
            ("appliance sysctl udp_timeout_u", "appliance sysctl udp_timeout_unconfirmed "),
            ("appliance run --lane req", "appliance run --lane required "),
            (f"appliance check {directory}/sett", f"appliance check {directory}/settings "),
            ("appliance servers w", "appliance servers web "),
            ("appliance servers web 192.0.2.101", "appliance servers web 192.0.2.101:8080 "),
            ("appliance servers web 192.0.2.102:8", "appliance servers web 192.0.2.102:8080 "),
            ("appliance servers web 192.0.2.102:", "appliance servers web 192.0.2.102:8080 "),
            ("appliance conns --service=w", "appliance conns --service=web "),
            ("appliance conns --service w", "appliance conns --service web "),
            (f"appliance --api {other} drain w", f"appliance --api {other} drain web "),
            (f"appliance drain --api={other} w", f"appliance drain --api={other} web "),
            ("appliance --api unix:/nobody servers w", "appliance --api unix:/nobody servers w"),
        ):
            assert shell.comes_to(line, typed) == line, typed
        assert {entry.name for entry in COMMANDS} <= shell.offers("appliance ")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    (tmp_path / "_appliance").write_text(script("zsh"))
    subprocess.run(["zsh", "-n", str(tmp_path / "_appliance")], check=True)


def test_a_script_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh"):
        text = script(shell)
        assert [entry.name for entry in COMMANDS if entry.name not in text] == []
        capsys.readouterr()


def test_the_script_is_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["completion", "bash"]) == 0
    assert capfdbinary.readouterr().out.decode() == script("bash")


async def test_names_are_those_of_the_appliance_that_the_line_asks(
    operator: Operator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_LIMIT_S", PATIENCE_S)

    async def named(kind: str, *words: str) -> list[str]:
        assert await asyncio.to_thread(main, ["completion", kind, "--", "appliance", *words]) == 0
        return capsys.readouterr().out.split()

    assert await named("services", "--api", operator.http, "services", "") == ["web", "names"]
    assert await named("servers", "servers", f"--api={operator.unix}", "web", "") == ["192.0.2.101:8080", "192.0.2.102:8080"]
    assert await named("servers", "conns", "--api", operator.unix, "--real-server", "") == [
        "192.0.2.101:8080",
        "192.0.2.102:8080",
    ]
    assert await named("tunables") == list(TUNABLES)
    assert await named("counters") == [counter.name for counter in EXT_COUNTERS]
    assert await named("host-parameters") == list(HOST_PARAMETERS)


@pytest.mark.parametrize(
    "name", ["$(reboot)", "`reboot`", "a b", "a;b", "a\nb", "a*", "~", "\x1b[2J", "", "x" * 300, "a'b", 'a"b', "!x"]
)
async def test_a_name_that_means_more_to_a_shell_is_left_out(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(completion, "_configured", lambda _: [{"name": name}, {"name": "web"}])
    assert await asyncio.to_thread(main, ["completion", "services"]) == 0
    assert capsys.readouterr().out == "web\n"


@pytest.mark.parametrize("answer", [b"{", b"[3]", b'[{"name": 3, "real_server": 5}]', b'{"a": 1}', b"[" * 100_000])
async def test_an_answer_that_is_none_of_an_appliance_names_nothing(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        words = ["completion", "servers", "--", "appliance", "--api", f"http://{host}:{port}", "servers", "web", ""]
        assert await asyncio.to_thread(main, words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


async def test_an_appliance_that_does_not_answer_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_LIMIT_S", 0.01)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        words = ["completion", "services", "--", "appliance", "--api", f"http://{host}:{port}", "services", ""]
        assert await asyncio.to_thread(main, words) == 1
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "api", "words"),
    [
        ((), None, ()),
        (("--api",), None, ()),
        (("--api", "a", "conns", "--client", "b", "c"), "a", ("conns", "c")),
        (("servers", "--weight", "5", "web", "--remove", "x", "--api=u"), "u", ("servers", "web", "x")),
        (("nothing", "--api", "a"), "a", ("nothing",)),
        (("lab", "--shards", "2", "--", "curl", "-s"), None, ("lab", "curl")),
    ],
)
def test_a_line_is_read_as_far_as_it_goes(typed: Sequence[str], api: str | None, words: Sequence[str]) -> None:
    found = so_far(typed)
    assert (found.place["api"], tuple(found.words)) == (api, tuple(words))
    assert json.dumps(found.place)
