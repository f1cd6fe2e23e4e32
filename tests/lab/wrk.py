"""wrk in the lab's client: connections that are opened and closed all the time, each for one request."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.conftest import RunningLab

LONGEST_S = 900
"""When it ends by itself, if nobody ends it before."""
PATIENCE_S = 60
"""How long it waits for an answer before that counts as an error: longer than any retransmission takes on a slow machine."""

_REQUESTS = re.compile(r"^\s+(\d+) requests in ", re.MULTILINE)
_ERRORS = re.compile(r"^\s+(Socket errors: .*|Non-2xx or 3xx responses: .*)$", re.MULTILINE)


class WrkReport:
    """What wrk has said in the end."""

    requests = 0
    """How many were answered."""
    errors: tuple[str, ...] = ()
    """Its own words about each kind of error; none without errors."""


@contextmanager
def wrk(lab: RunningLab, connections: int = 8) -> Iterator[WrkReport]:
    """Load on the first service while the block runs. The report is there behind it. Skips the test when there is no wrk."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    url = f"http://{lab.environment['LAB_VIP']}:{lab.environment['LAB_PORT']}/?close=1"
    sizes = ("--threads", "2", "--connections", str(connections), "--duration", f"{LONGEST_S}s", "--timeout", f"{PATIENCE_S}s")
    report, command = WrkReport(), lab.enter("client", "wrk", *sizes, "--header", "Connection: close", url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield report
        finally:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE_S)
    found = _REQUESTS.search(said)
    assert found, said
    report.requests, report.errors = int(found[1]), tuple(_ERRORS.findall(said))
