"""An operator who types commands, in front of the real API of a gateway that the test sets."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.__main__ import main
from appliance.api import make_app, serve
from tests.support.gateway import FakeGateway

ROOT = Path(__file__).parents[3]


class Printed(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


async def started(
    command: list[str], *, stdout: int, stderr: int = subprocess.PIPE, unbuffered: bool = False, most_bytes: int = 1 << 30
) -> asyncio.subprocess.Process:
    """Start a process that can write files of at most `most_bytes`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        stdout=stdout,
        stderr=stderr,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )


class Operator:
    """Runs commands, in the test's own process or in another one."""

    def __init__(self, gateway: FakeGateway, http: str, unix: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateway = gateway
        self.http = http
        self.unix = unix
        self._capsys = capsys

    async def types(self, *words: str, api: str = "") -> Printed:
        code = await asyncio.to_thread(main, [*words, "--api", api or self.http])
        return Printed(code, *self._capsys.readouterr())

    async def reads(self, *words: str) -> str:
        """The output of a command that succeeds."""
        printed = await self.types(*words)
        assert (printed.code, printed.err) == (0, "")
        return printed.out

    async def reads_json(self, *words: str) -> object:
        parsed: object = json.loads(await self.reads(*words, "--json"))
        return parsed

    async def starts(self, *words: str, stdout: int, stderr: int = subprocess.PIPE, **how: Any) -> asyncio.subprocess.Process:
        """Start a command in a process of its own; see `started`."""
        command = [sys.executable, "-m", "appliance", *words, "--api", self.http]
        return await started(command, stdout=stdout, stderr=stderr, **how)


@pytest.fixture
async def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Operator]:
    gateway, unix = FakeGateway(), f"unix:{tmp_path / 'api.sock'}"
    runner = await serve(make_app(gateway), ["127.0.0.1:0", unix])
    yield Operator(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", unix, capsys)
    await runner.cleanup()
