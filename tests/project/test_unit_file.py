"""The systemd units and the sysctl.d file: what they may, what they name, and that systemd understands them.

What systemd does with them is in tests/systemd.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.rest.connections import LINGERING_MAX
from appliance.rest.listen import CONNECTIONS_MAX, RESERVED_DESCRIPTORS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "appliance.service"
DATAPLANE = DEPLOY / "appliance-dataplane.service"
CAPABILITIES = {"CAP_NET_ADMIN", "CAP_NET_RAW"}
FOR_LOADING = {"CAP_BPF", "CAP_PERFMON"}
"""What the lane's program takes to be loaded."""
FOR_CHECKING = {"CAP_NET_BIND_SERVICE"}
"""What the ports of health checks take."""
COMMAND = "/opt/appliance/current/bin/appliance"
CONFIG = "/etc/appliance/lvs.toml"


def settings_of(path: Path) -> list[tuple[str, str]]:
    """Every `Key=value` line in order; systemd lets a key stand more than once."""
    lines = path.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def values_of(wanted: str) -> list[str]:
    return [value for key, value in settings_of(UNIT) if key == wanted]


def joined(path: Path) -> dict[str, str]:
    """The settings of a unit; those that stand more than once are joined by a space."""
    settings: dict[str, str] = {}
    for key, value in settings_of(path):
        settings[key] = f"{settings[key]} {value}" if key in settings else value
    return settings


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    return joined(UNIT)


@pytest.fixture(scope="module")
def dataplane() -> dict[str, str]:
    return joined(DATAPLANE)


@pytest.mark.parametrize("key", ["CapabilityBoundingSet", "AmbientCapabilities"])
def test_capabilities_are_exactly_these(unit: dict[str, str], dataplane: dict[str, str], key: str) -> None:
    assert set(unit[key].split()) == CAPABILITIES | FOR_LOADING | FOR_CHECKING
    assert set(dataplane[key].split()) == CAPABILITIES


LIMITS = re.compile(
    r"Protect|Private|Restrict(?!Kill)|Lock|Memory|Keyring|SystemCall|NoNew|ReadWrite|UMask|User|Group|RuntimeDirectory$"
)
"""Settings that take rights away, or say whose they are."""


def test_the_data_plane_has_the_limits_of_the_director(unit: dict[str, str], dataplane: dict[str, str]) -> None:
    limits = {key: value for key, value in unit.items() if LIMITS.match(key) and key != "RuntimeDirectoryPreserve"}
    assert {"ProtectSystem", "SystemCallFilter", "RestrictAddressFamilies", "User", "RuntimeDirectory"} <= limits.keys()
    assert {key: dataplane.get(key) for key in limits} == limits


def test_of_the_privileged_calls_only_bpf_is_allowed() -> None:
    assert values_of("SystemCallFilter") == ["@system-service", "~@privileged", "bpf"]


def test_it_does_not_run_as_root(unit: dict[str, str]) -> None:
    assert unit["User"] not in ("root", "0")
    assert unit["NoNewPrivileges"] == "yes"


def test_its_user_is_the_one_the_installer_makes(unit: dict[str, str]) -> None:
    made = re.search(r"^SERVICE_USER=(\w+)$", (DEPLOY / "install.sh").read_text(), re.MULTILINE)
    assert made is not None
    assert unit["User"] == unit["Group"] == made[1]


def test_there_are_descriptors_for_the_api_and_for_what_must_not_fail(unit: dict[str, str]) -> None:
    assert int(unit["LimitNOFILE"]) >= RESERVED_DESCRIPTORS + 8 * (CONNECTIONS_MAX + LINGERING_MAX)


def test_kernel_knobs_are_closed_except_the_networks(unit: dict[str, str]) -> None:
    assert unit["ProtectKernelTunables"] == "yes"
    assert unit["ReadWritePaths"] == "/proc/sys/net"


def test_a_crash_is_followed_by_a_restart_that_finds_everything(unit: dict[str, str], dataplane: dict[str, str]) -> None:
    assert unit["ExecStart"] == f"{COMMAND} run --config {CONFIG}"
    assert unit["Restart"] == "on-failure"
    assert "ExecStopPost" not in unit
    assert dataplane["ExecStop"] == f"{COMMAND} cleanup"


def test_a_reload_refuses_a_bad_file_before_it_signals_the_director() -> None:
    assert values_of("ExecReload") == [f"{COMMAND} check {CONFIG}", "/bin/kill -HUP $MAINPID"]


def test_a_restart_finds_what_the_run_before_kept(unit: dict[str, str], dataplane: dict[str, str]) -> None:
    assert unit["RuntimeDirectoryPreserve"] == "yes"
    assert "RuntimeDirectoryPreserve" not in dataplane, "a stop for good leaves nothing"


def test_paths_are_those_of_the_installer() -> None:
    script = (DEPLOY / "install.sh").read_text()
    assert "prefix=$root/opt/appliance" in script
    assert "current=$prefix/current" in script
    assert "config_dir=$root/etc/appliance" in script


def test_sysctl_file_sets_only_what_is_host_wide() -> None:
    """Settings of single interfaces are the director's: only it knows which interfaces the configuration names."""
    assert settings_of(DEPLOY / "90-appliance.conf") == [("net.ipv4.ip_forward", "1")]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in (UNIT, DATAPLANE)]
    for path, copy in zip((UNIT, DATAPLANE), copies, strict=True):
        # The command of the real units is not installed here, and `verify` insists that it can be run.
        text, replaced = re.subn(re.escape(COMMAND), "/bin/true", path.read_text())
        assert replaced
        copy.write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
