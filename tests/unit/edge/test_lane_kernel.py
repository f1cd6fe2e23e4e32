"""edge/lane_kernel.py without a kernel: what is said of maps that others have pinned."""

from pathlib import Path

import pytest

from appliance.edge import bpf
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import Pinned
from appliance.ipc.lane_layout import SETTINGS


class Foreign:
    """A map of another version or of somebody else; `bytes_of_value` is what it has in each place."""

    entries = 1

    def __init__(self, bytes_of_value: int) -> None:
        self.value_bytes = bytes_of_value

    def lookup(self, _: bytes) -> bytes:
        return bytes(self.value_bytes)

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("size", [SETTINGS.size - 4, SETTINGS.size + 8])
def test_settings_of_another_size_are_refused_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    monkeypatch.setattr(bpf, "pinned_map", lambda _: Foreign(size))
    assert Pinned(tmp_path).why_not() == f"their settings have {size} bytes and not {SETTINGS.size}"


def test_a_pin_that_cannot_be_removed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bpf, "pinned_map", lambda _: Foreign(8))
    (tmp_path / "sessions").mkdir()
    with pytest.raises(EdgeError, match=f"cannot remove {tmp_path}/sessions: Is a directory"):
        Pinned(tmp_path).unpin()
