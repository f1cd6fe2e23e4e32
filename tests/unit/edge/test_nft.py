"""nft.py: a tool that does not answer is an error, and nobody waits for it for ever."""

import subprocess
from typing import Any

import pytest

from appliance.edge import nft
from appliance.edge.errors import EdgeError


def test_a_tool_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **how: Any) -> None:
        raise subprocess.TimeoutExpired(command, how["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(EdgeError, match="nft has not answered within 60 s"):
        nft.change("")
