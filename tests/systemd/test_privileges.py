"""What of the lane works with the limits of the units, and what does not with fewer rights. Each variant is a unit of its own."""

import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import HERE, NEEDS_SYSTEMD, UNITS, Machine, accounts, booted

PROJECT = Path(__file__).parents[2]
OBJECT = PROJECT / "build/lane.bpf.o"
pytestmark = [*NEEDS_SYSTEMD, pytest.mark.skipif(not OBJECT.exists(), reason="the lane is not built")]

DIRECTOR, DATAPLANE = (PROJECT / "deploy" / name for name in ("appliance.service", "appliance-dataplane.service"))
TO_LOAD = " CAP_BPF CAP_PERFMON"
BPF_CALL = "SystemCallFilter=bpf\n"


def probe(unit: Path, without: str, *steps: str) -> str:
    """A unit with the limits of this one, but for what is left out, that tries these steps."""
    kept = re.sub(r"^(Type|Restart|Exec|Requires|StopWhen|Remain)\w*=(.*\\\n)*.*\n", "", unit.read_text(), flags=re.MULTILINE)
    assert without in kept
    run = f"ExecStart={os.path.realpath(sys.executable)} /opt/probe/lane_probe.py {' '.join(steps)}"
    paths = "Environment=PYTHONPATH=/opt/probe:/opt/probe/packages PYTHONDONTWRITEBYTECODE=1"
    return kept.replace(without, "").replace("[Service]", f"[Service]\nType=oneshot\n{run}\n{paths}")


PROBES = {
    "all": probe(DIRECTOR, "", "make", "use", "attach", "remove"),
    "to-load": probe(DIRECTOR, TO_LOAD, "make"),
    "bpf-capability": probe(DIRECTOR, " CAP_BPF", "make"),
    "perfmon": probe(DIRECTOR, " CAP_PERFMON", "make"),
    "bpf-call": probe(DIRECTOR, BPF_CALL, "make"),
    "make": probe(DIRECTOR, "", "make"),
    "clean-up": probe(DATAPLANE, "", "use", "remove"),
    "worker": probe(DIRECTOR, TO_LOAD, "use"),
}
"""Each probe is named after what it leaves out, or after who it stands for."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    units = {str(UNITS / f"probe-{name}.service"): text for name, text in PROBES.items()}
    files = {
        **accounts(),
        **units,
        str(UNITS / DATAPLANE.name): DATAPLANE.read_text().replace("StopWhenUnneeded=yes\n", ""),
        "/opt/probe/lane_probe.py": (HERE / "lane_probe.py").read_text(),
        "/opt/appliance/current/bin/appliance": "#!/bin/sh\n",
    }
    binds = {
        PROJECT / "appliance": "/opt/probe/appliance",
        OBJECT.parent: "/opt/probe/build",
        Path(sysconfig.get_path("purelib")): "/opt/probe/packages",
    }
    with booted(tmp_path_factory.mktemp("machine"), files, binds) as made:
        made.run("ip", "link", "add", "client0", "type", "veth", "peer", "name", "other")
        made.run("systemctl", "start", DATAPLANE.name)
        yield made


def met(machine: Machine, name: str) -> dict[str, str]:
    """What a probe met, by step; nothing where the step worked."""
    machine.run("systemctl", "start", f"probe-{name}", check=False)
    unit = f"probe-{name}"
    machine.wait_until("the journal has its words", lambda: len(said(machine, unit)) == 1)  # behind its end, at times
    found: dict[str, str] = json.loads(said(machine, unit)[0])
    return found


def said(machine: Machine, unit: str) -> list[str]:
    """The lines of JSON that a unit has printed."""
    return [line for line in machine.journal(unit).splitlines() if line.startswith("{")]


def test_the_unit_allows_what_the_lane_takes(machine: Machine) -> None:
    assert met(machine, "all") == {"make": "", "use": "", "attach": "", "remove": ""}


@pytest.mark.parametrize("left_out", ["bpf-capability", "perfmon", "bpf-call", "to-load"])
def test_without_it_there_is_no_lane_and_a_reason(machine: Machine, left_out: str) -> None:
    why = met(machine, left_out)["make"]
    assert "not permitted" in why or "Permission denied" in why


def test_only_loading_takes_more_than_the_appliance_had_before(machine: Machine) -> None:
    """A worker, and the clean-up, go on with maps that are there."""
    assert met(machine, "make") == {"make": ""}
    assert met(machine, "worker") == {"use": ""}
    assert met(machine, "clean-up") == {"use": "", "remove": ""}
