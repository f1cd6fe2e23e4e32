"""A headless Chromium of the distribution, driven by playwright, at a lab's page.

It reaches the API through a port on the loopback address, as somebody does who looks through `ssh -L`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.model.token import line_of
from tests.lab.conftest import RunningLab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()
LISTEN = 'listen = ["127.0.0.1:9380", "unix:/run/appliance/api.sock"]'
READS, WRITES = "apl_reader-token", "apl_writer-token"

PATIENCE_MS = 60_000
"""How long a browser waits for what a test expects. It only ends a test that failed."""

_RELAY = Path(__file__).parent / "programs" / "api_on_tcp.py"
_BUILT = Path(__file__).parents[2] / "build"


def why_not() -> str:
    """Why there is no browser here; empty when there is one."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `make browser` gets it"
    return "" if shutil.which("chromium") else "chromium is not installed: `make browser` gets it"


def why_no(package: str) -> str:
    """Why the files of an npm package are not here; empty when they are."""
    return "" if (_BUILT / package / "version").exists() else f"{package} is not there: `make browser` gets it"


def config_with_tokens(directory: Path) -> Path:
    """The shipped configuration with two tokens: READS, which may only read, and WRITES."""
    tokens, config = directory / "tokens", directory / "lvs.toml"
    rights = {READS: ("reader", False), WRITES: ("writer", True)}
    tokens.write_text("".join(f"{line_of(name, token, may_write=may)}\n" for token, (name, may) in rights.items()))
    tokens.chmod(0o640)
    assert LISTEN in SHIPPED
    config.write_text(SHIPPED.replace(LISTEN, f'{LISTEN}\ntokens_file = "{tokens}"'))
    return config


@contextmanager
def page_url(lab: RunningLab) -> Iterator[str]:
    """The URL of the lab's page on this host."""
    socket = lab.environment["APPLIANCE_API"].removeprefix("unix:")
    command = [sys.executable, str(_RELAY), socket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=lab.environment, text=True) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        port = relay.stdout.readline().strip()
        assert port, f"the relay did not start: exit code {relay.wait()}"
        try:
            yield f"http://127.0.0.1:{port}/ui/"
        finally:
            relay.stdin.close()


@contextmanager
def started() -> "Iterator[Browser]":
    """A browser. It has no sandbox, which would not let root start it, and which pages of this test do not need."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"], env=dict(os.environ)
        )
        try:
            yield browser
        finally:
            browser.close()


def patient(page: "Page") -> "Page":
    """The same page, which waits as long as slow machines need."""
    page.set_default_timeout(PATIENCE_MS)
    return page
