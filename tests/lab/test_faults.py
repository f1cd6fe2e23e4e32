"""The programs of `faults` in their short form: they try, they judge, and nothing is left when they end, in whatever way."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults import cgroup

MATRIX, SOAK = "faults", "faults.soak"


def program(name: str, *arguments: str) -> "subprocess.Popen[str]":
    """One of the programs, started."""
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left_behind() -> list[str]:
    """Namespaces and cgroups that are there."""
    found = cgroup.hierarchy()
    groups = [] if found is None else [directory.name for directory in found.root.glob("appliance-faults-*")]
    return sorted(path.name for path in Path("/run/netns").glob("*")) + groups


def tried(rows: str, directory: Path) -> tuple[int, dict[str, Any]]:
    """The exit code, and each row as data, by name."""
    file = directory / "faults.json"
    with program(MATRIX, "--rows", rows, "--lane", "off", "--json", str(file)) as process:
        said = process.communicate()
    assert file.exists(), said
    return process.returncode, {row["name"]: row for row in json.loads(file.read_text())["rows"]}


def test_faults_are_tried_and_judged(tmp_path: Path) -> None:
    """A busy machine can be late, so what is promised of times is not judged here."""
    before = left_behind()
    _, rows = tried("worker-killed,table-flushed,out-of-memory,garbage,stranger,lane-detached", tmp_path)
    broken = [each["words"] for row in rows.values() for each in row["broken"] if each["kind"] != "time"]
    assert broken == []
    assert [row["why_not"] for row in rows.values() if row["is_error"]] == []
    assert rows["lane-detached"]["why_not"] == "no lane"
    for name in ("worker-killed", "out-of-memory"):
        seen = rows[name]["figures"]
        assert 0 < sum(seen["lost"].values()) == seen["concerned"] < seen["streams"], "those of one shard, and no others"
    for name in ("table-flushed", "garbage", "stranger"):
        seen = rows[name]["figures"]
        assert (seen["lost"], seen["corrupted"]) == ({}, 0)
        assert seen["connections"]["begun"] > 0
        assert seen["right_bytes"] > 1_000_000
    assert left_behind() == before


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of a fault: a worker is stopped."""
    before = left_behind()
    with program(MATRIX, "--rows", "worker-killed,worker-stopped", "--json", str(tmp_path / "none")) as process:
        assert process.stderr is not None
        assert "worker-killed" in process.stderr.readline()
        assert left_behind() != before
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert left_behind() == before


def test_a_short_soak_finds_nothing() -> None:
    before = left_behind()
    with program(SOAK, "--minutes", "0.35", "--lane", "off") as process:
        said, progress = process.communicate()
    assert (process.returncode, said.splitlines()[-1:]) == (0, ["nothing has piled up"]), said + progress
    assert "of 0.35 min:" in progress
    assert left_behind() == before
