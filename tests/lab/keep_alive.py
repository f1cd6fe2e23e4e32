"""Connections of a client that stay open, and ask again when they are told to."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab.conftest import RunningLab

KEEP_ALIVE = """
import http.client, json, os, sys
conns = [http.client.HTTPConnection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])) for _ in range(16)]
for conn in conns:
    conn.connect()
    conn.auto_open = False
def ask(conn):
    try:
        port = conn.sock.getsockname()[1]
        conn.request("GET", "/")
        return json.loads(conn.getresponse().read())["real_server"], port
    except ConnectionResetError:
        return "reset", port
for _ in sys.stdin:
    print(json.dumps([ask(conn) for conn in conns]), flush=True)
"""
"""A program with sixteen connections, each of which makes a request for each line of input, and never connects again."""


class KeepAlive:
    """Connections that stay open. An answer is the name of the real server and the port of the client."""

    def __init__(self, lab: RunningLab, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._lab, self._stdin, self._stdout = lab, process.stdin, process.stdout

    def ask(self) -> None:
        """Start a request on each connection, one after the other."""
        self._stdin.write("\n")
        self._stdin.flush()

    def answers(self) -> list[list[Any]]:
        """Wait for all answers."""
        self._lab.wait_until("all are answered", lambda: bool(select.select([self._stdout], [], [], 0)[0]))
        found: list[list[Any]] = json.loads(self._stdout.readline())
        return found


@contextmanager
def keep_alive(lab: RunningLab) -> Iterator[KeepAlive]:
    command = lab.enter("client", sys.executable, "-c", KEEP_ALIVE)
    with subprocess.Popen(command, env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield KeepAlive(lab, process)
        finally:
            process.kill()
