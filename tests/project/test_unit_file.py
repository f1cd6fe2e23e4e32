"""The systemd unit and the sysctl.d file: what they may, what they name, and that systemd understands them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.__main__ import EXIT_BAD_CONFIG
from appliance.rest.connections import LINGERING_MAX
from appliance.rest.listen import CONNECTIONS_MAX, RESERVED_DESCRIPTORS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "appliance.service"
CAPABILITIES = {"CAP_NET_ADMIN", "CAP_NET_RAW"}
COMMAND = "/opt/appliance/current/bin/appliance"
CONFIG = "/etc/appliance/lvs.toml"


def settings_of(path: Path) -> list[tuple[str, str]]:
    """Every `Key=value` line in order; systemd lets a key stand more than once."""
    lines = path.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def values_of(wanted: str) -> list[str]:
    return [value for key, value in settings_of(UNIT) if key == wanted]


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    """The settings of the unit; those that stand more than once are joined by a space."""
    settings: dict[str, str] = {}
    for key, value in settings_of(UNIT):
        settings[key] = f"{settings[key]} {value}" if key in settings else value
    return settings


@pytest.mark.parametrize("key", ["CapabilityBoundingSet", "AmbientCapabilities"])
def test_capabilities_are_exactly_the_two(unit: dict[str, str], key: str) -> None:
    assert set(unit[key].split()) == CAPABILITIES


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


def test_a_crash_is_cleaned_up_and_followed_by_a_restart(unit: dict[str, str]) -> None:
    assert unit["ExecStart"] == f"{COMMAND} run --config {CONFIG}"
    assert unit["ExecStopPost"] == f"{COMMAND} cleanup"
    assert unit["Restart"] == "on-failure"


def test_a_bad_configuration_is_not_tried_again(unit: dict[str, str]) -> None:
    assert unit["RestartPreventExitStatus"] == str(EXIT_BAD_CONFIG)


def test_a_reload_refuses_a_bad_file_before_it_signals_the_director() -> None:
    assert values_of("ExecReload") == [f"{COMMAND} check {CONFIG}", "/bin/kill -HUP $MAINPID"]


def test_a_restart_finds_what_the_run_before_kept(unit: dict[str, str]) -> None:
    assert unit["RuntimeDirectoryPreserve"] == "restart"
    assert unit["RuntimeDirectory"] == "appliance"


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
    # The command of the real unit is not installed here, and `verify` insists that it can be run.
    text, replaced = re.subn(re.escape(COMMAND), "/bin/true", UNIT.read_text())
    assert replaced == 3
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
