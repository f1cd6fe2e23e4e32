"""bpffs.py: a mount that the kernel does not let go is no success. The rest needs a kernel: tests/lab/test_lane_kernel.py."""

from pathlib import Path

import pytest

from appliance.edge import bpffs
from appliance.edge.errors import EdgeError


class BusyLibc:
    """Refuses to unmount anything."""

    def umount2(self, *_: object) -> int:
        return -1


def test_a_mount_that_stays_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpffs, "_is_ours", lambda _: True)
    monkeypatch.setattr(bpffs, "_libc", BusyLibc)
    (tmp_path / "4026531840").mkdir()
    with pytest.raises(EdgeError, match="cannot unmount"):
        bpffs.remove(tmp_path, "4026531840")
    assert not (tmp_path / "4026531840").exists(), "what is below it is removed all the same"
