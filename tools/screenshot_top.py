"""The picture of `appliance top` in the manual: its screen, drawn by textual, at a gateway of a lab with traffic and a flood.

python -m tools.screenshot_top [FILE]        writes docs/images/top.svg, or FILE; needs root
"""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from appliance.cli.credentials import Credentials
from appliance.cli.top.app import Top

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "images" / "top.svg"
PROGRAMS = ROOT / "tests" / "lab" / "programs"
CONFIG = ROOT / "tests" / "lab" / "tcp_and_udp.toml"

COLUMNS, LINES = 100, 14
SHOWN_S = 25.0
"""How long it looks before the picture is taken: the bars are from left to right what happened meanwhile."""

USUAL_ADDRESS = "unix:/run/appliance/api.sock"
"""Shown instead of the address that the API has in the lab."""

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Of the picture: they would come from another host."""


def main(file: Path) -> None:
    """Take the picture in a lab; inside of one, take it there."""
    if "LAB_VIP" in os.environ:
        file.write_text(_without_fonts(_under_traffic(os.environ["APPLIANCE_API"])))
        return
    here = [sys.executable, "-m", "tools.screenshot_top", str(file.resolve())]
    command = [sys.executable, "-m", "appliance", "lab", "--config", str(CONFIG), "--", *here]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def _under_traffic(api: str) -> str:
    """The picture, while there is traffic of all kinds."""
    programs = (("load_until_told.py", "3"), ("udp_echo.py", "2000", "3"), ("stray_flood.py", "fragment", "40000", "1800"))
    running = [
        subprocess.Popen([sys.executable, PROGRAMS / name, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for name, *words in programs
    ]
    try:
        return asyncio.run(_taken(api))
    finally:
        for program in running:
            program.kill()
            program.wait()


async def _taken(api: str) -> str:
    """The picture after SHOWN_S."""
    app = Top(api, Credentials(), 1.0)
    async with app.run_test(size=(COLUMNS, LINES)) as pilot:
        await pilot.pause(SHOWN_S)
        app.address = USUAL_ADDRESS
        app.draw()
        await pilot.pause()
        return app.export_screenshot(title="appliance top")


def _without_fonts(svg: str) -> str:
    return _FONTS.sub("", svg).rstrip() + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
