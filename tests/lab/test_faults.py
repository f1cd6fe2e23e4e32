"""The programs of `faults` in their short form: they try, they judge, and nothing is left when they end, in whatever way."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.rig.servers import nginx_program
from faults import cgroup

MATRIX, SOAK, CONNECTIONS = "faults", "faults.soak", "faults.connections"


def program(name: str, *arguments: str) -> "subprocess.Popen[str]":
    """One of the programs, started."""
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left_behind(process: "subprocess.Popen[str]") -> list[str]:
    """Namespaces of this program, and cgroups of programs that have ended. Other labs on this machine are not looked at."""
    found = cgroup.hierarchy()
    groups = [] if found is None else [directory.name for directory in found.root.glob("appliance-faults-*")]
    ended = [name for name in groups if not Path("/proc", name.rpartition("-")[2]).exists()]
    return sorted(path.name for path in Path("/run/netns").glob(f"lab-{process.pid}-*")) + ended


def tried(rows: Iterable[str], lane: str, directory: Path) -> dict[str, dict[str, Any]]:
    """Each row as data, by name. Nothing is left of the program that tried them."""
    file = directory / "faults.json"
    with program(MATRIX, "--rows", ",".join(rows), "--lane", lane, "--json", str(file)) as process:
        said = process.communicate()
    assert file.exists(), said
    assert left_behind(process) == []
    return {row["name"]: row for row in json.loads(file.read_text())["rows"]}


ONE_SHARD = {"worker-killed", "out-of-memory"}
OTHERS = {"table-flushed", "garbage", "stranger"}


def judged(rows: dict[str, dict[str, Any]]) -> list[str]:
    """What was not kept, or could not be tried. A busy machine can be late, so what is promised of times is not judged here."""
    broken = [each["words"] for row in rows.values() for each in row["broken"] if each["kind"] != "time"]
    return broken + [row["why_not"] for row in rows.values() if row["is_error"]]


def assert_unharmed(seen: dict[str, Any]) -> None:
    """All sessions went on, with data that was right."""
    assert (seen["lost"], seen["corrupted"]) == ({}, 0)
    assert seen["connections"]["begun"] > 0
    assert seen["right_bytes"] > 1_000_000


@pytest.mark.once
def test_faults_without_the_lane(tmp_path: Path) -> None:
    rows = tried((*ONE_SHARD, *OTHERS, "lane-detached"), "off", tmp_path)
    assert judged(rows) == []
    assert rows["lane-detached"]["why_not"] == "no lane"
    for name in ONE_SHARD:
        seen = rows[name]["figures"]
        assert 0 < sum(seen["lost"].values()) == seen["concerned"] < seen["streams"], "those of one shard, and no others"
    for name in OTHERS:
        assert_unharmed(rows[name]["figures"])


@pytest.mark.once
def test_with_the_lane_sessions_outlive_all_but_a_stop(tmp_path: Path) -> None:
    unharmed = {*ONE_SHARD, "all-killed", "restarted", "lane-detached", "lane-unpinned"}
    rows = tried((*unharmed, "stopped"), "on", tmp_path)
    assert judged(rows) == []
    for name in unharmed:
        assert_unharmed(rows[name]["figures"])
    seen = rows["stopped"]["figures"]
    assert seen["lost"] == {"reset": seen["streams"]}, "all of them, and each client knows"


@pytest.mark.once
def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of a fault: a worker is stopped."""
    options = ("--lane", os.environ["LANE"], "--json", str(tmp_path / "none"))
    with program(MATRIX, "--rows", "worker-killed,worker-stopped", *options) as process:
        assert process.stderr is not None
        assert "worker-killed" in process.stderr.readline()
        assert left_behind(process)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert left_behind(process) == []


def test_a_short_soak_finds_nothing() -> None:
    with program(SOAK, "--minutes", "0.35", "--lane", os.environ["LANE"]) as process:
        said, progress = process.communicate()
    assert (process.returncode, said.splitlines()[-1:]) == (0, ["nothing has piled up"]), said + progress
    assert "of 0.35 min:" in progress
    assert left_behind(process) == []


@pytest.mark.once
@pytest.mark.skipif(shutil.which("wrk") is None or nginx_program() is None, reason="wrk or nginx is not installed")
def test_many_connections_on_few_endpoints_leave_all_books_right() -> None:
    """Two shards, which use each local endpoint again all the time."""
    with program(CONNECTIONS, "--count", "20000", "--rate", "4000", "--local-ports", "512") as process:
        said, progress = process.communicate()
    assert (process.returncode, said.splitlines()[-1:]) == (0, ["all of it agrees"]), said + progress
    assert left_behind(process) == []
