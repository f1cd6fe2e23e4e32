"""A picture of the page /ui/ at a gateway with traffic, for the manual: `python -m tests.lab.web_page_picture FILE.png`."""

import os
import sys
import tempfile
from pathlib import Path

from tests.lab.browser import WRITES, config_with_tokens, page_url, patient, started, why_not
from tests.lab.conftest import running_lab

SIZE = {"width": 1200, "height": 690}
SECONDS = 40
"""Of traffic before the picture: enough for a line in each chart."""


def take(file: Path) -> None:
    """Put up a lab, let clients come, drain a real server, and take the picture."""
    with tempfile.TemporaryDirectory() as directory, started() as browser:
        Path(directory).chmod(0o755)
        for lab in running_lab("--config", str(config_with_tokens(Path(directory))), "--shards", "2", "--lane", "auto"):
            with lab.start("client", "load_until_told.py", "6", "0.1") as clients, page_url(lab) as url:
                assert clients.stdin is not None
                page = patient(browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB"))
                page.goto(url)
                page.click("#token-button")
                page.fill("#token", WRITES)
                page.keyboard.press("Enter")
                page.wait_for_selector("#token-dialog", state="hidden")
                page.wait_for_timeout(SECONDS * 500)
                page.click("[aria-label^='Drain 192.0.2.102']")
                page.wait_for_timeout(SECONDS * 500)
                page.screenshot(path=file)
                clients.stdin.close()


if __name__ == "__main__":
    if os.geteuid() != 0 or why_not():
        sys.exit(f"web_page_picture: {why_not() or 'a lab needs root'}")
    os.environ.setdefault("LANE", "on")
    take(Path(sys.argv[1]))
