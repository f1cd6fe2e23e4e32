"""cli/top/command.py: what `appliance top` says where it cannot show anything."""

import importlib.util
import subprocess
import sys

import pytest

from appliance.__main__ import main
from tests.support.terminal import APPLIANCE, in_terminal


def test_without_the_package_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "textual" else 1)
    assert main(["top", "--api", "unix:/nowhere"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("appliance: top needs the Python package textual")
    assert "deploy/install.sh --with-top" in err
    assert f"{sys.executable} -m pip install textual" in err


def test_the_command_line_does_not_load_the_package() -> None:
    """The other commands work without it, and as fast as before."""
    script = (
        "import sys; from appliance.cli.top import command; print(sorted({'textual', 'rich', 'aiohttp'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_there_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--json"]) == 2
    assert capsys.readouterr().err == "appliance: top shows a screen, and no JSON; appliance metrics --json prints the numbers\n"


def test_a_terminal_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--api", "unix:/nowhere"]) == 1
    assert capsys.readouterr().err.startswith("appliance: top needs a terminal for input and output; ")


def test_a_terminal_that_cannot_move_its_cursor_is_none() -> None:
    with in_terminal([*APPLIANCE, "top", "--api", "unix:/nowhere"], TERM="dumb") as terminal:
        assert terminal.ends() == 1
    assert b"TERM says dumb" in terminal.written
    assert b"\x1b[" not in terminal.written


def test_a_credential_that_cannot_be_used_is_said_before_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--token-file", "/nowhere"]) == 1
    assert capsys.readouterr().err == "appliance: --token-file /nowhere: No such file or directory\n"


@pytest.mark.parametrize("interval", ["0", "0.4", "61", "-1", "nan", "inf", "1e999", "fast", ""])
def test_an_interval_out_of_range_is_refused_with_the_range(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["top", f"--interval={interval}"])
    assert ended.value.code == 2
    assert f"{interval!r} is no number of seconds from 0.5 to 60" in capsys.readouterr().err
