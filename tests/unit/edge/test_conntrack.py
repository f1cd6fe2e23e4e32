"""conntrack.py: what the kernel writes of its connection tracking."""

from pathlib import Path

import pytest

from appliance.edge import conntrack

EVENTS = """\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error
0000000a  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000010 00000002 00000000
0000000a  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000002 000000ff 00000003 00000000
"""


def test_events_of_all_processors_add_up_and_are_hexadecimal() -> None:
    assert conntrack.parse_events(EVENTS.splitlines()) == {"drop": 0x10F, "early_drop": 5, "insert_failed": 3}


def test_limits_and_events_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("count", 7), ("max", 262144), ("buckets", 65536)):
        (tmp_path / f"nf_conntrack_{name}").write_text(f"{value}\n")
    monkeypatch.setattr(conntrack, "_LIMITS", tmp_path)
    monkeypatch.setattr(conntrack, "_EVENTS", tmp_path / "absent")
    limits = {"count": 7, "max": 262144, "buckets": 65536}
    assert conntrack.read() == limits
    (tmp_path / "absent").write_text(EVENTS)
    assert conntrack.read() == limits | {"drop": 0x10F, "early_drop": 5, "insert_failed": 3}


def test_a_host_that_tracks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "_LIMITS", tmp_path)
    assert conntrack.read() is None
