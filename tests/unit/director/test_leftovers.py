"""leftovers.py: root undoes what the appliance did, and nothing that somebody else wrote into its file."""

import json
import os
from pathlib import Path

import pytest

from appliance.director.host import Host
from appliance.director.leftovers import Leftovers, as_text, read_leftovers
from appliance.edge import sysctl
from appliance.edge.errors import EdgeError

GOOD = {
    "sysctls": [
        ["ip_forward", "0"],
        ["conf/all/send_redirects", "1"],
        ["conf/eth0.5/rp_filter", "1"],
        ["conf/eth0/accept_local", "0"],
    ],
    "addresses": [["eth0", "203.0.113.10"]],
    "ruleset": ["table ip appliance {}", ""],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "host-1.json"


def write(file: Path, **changed: object) -> None:
    file.write_text(json.dumps(GOOD | changed))
    file.chmod(0o600)


def test_what_the_appliance_wrote_is_taken(file: Path) -> None:
    assert read_leftovers(file) is None
    write(file)
    assert read_leftovers(file) == Leftovers(
        [
            ("ipv4/ip_forward", "0"),
            ("ipv4/conf/all/send_redirects", "1"),
            ("ipv4/conf/eth0.5/rp_filter", "1"),
            ("ipv4/conf/eth0/accept_local", "0"),
        ],
        [("eth0", "203.0.113.10")],
        True,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"sysctls": [["../../../../etc/cron.d/x", "0"]]},
        {"sysctls": [["conf/../../../kernel/core_pattern/rp_filter", "0"]]},
        {"sysctls": [["conf/../rp_filter", "0"]]},
        {"sysctls": [["conf/./rp_filter", "0"]]},
        {"sysctls": [["/proc/sys/kernel/core_pattern", "0"]]},
        {"sysctls": [["conf/eth0/forwarding", "0"]]},
        {"sysctls": [["ip_forward\n", "0"]]},
        {"sysctls": [["ip_forward", "|/tmp/x"]]},
        {"sysctls": [["ip_forward", 0]]},
        {"sysctls": [["ip_forward"]]},
        {"sysctls": [[["ip_forward"], "0"]]},
        {"sysctls": 5},
        {"sysctls": [["ip_forward", "0 0 0 0"]]},
        {"parameters": [["ipv4/../../kernel/core_pattern", "0"]]},
        {"parameters": [["netfilter/../../kernel/core_pattern", "0"]]},
        {"parameters": [["../kernel/core_pattern", "0"]]},
        {"parameters": [["tcp_fin_timeout", "60"]]},
        {"parameters": [["ipv4/tcp_tw_recycle", "1"]]},
        {"parameters": [["ipv4/tcp_fin_timeout", "60; reboot"]]},
        {"parameters": [["ipv4/tcp_fin_timeout", 60]]},
        {"parameters": [["ipv4/tcp_fin_timeout"]]},
        {"parameters": 5},
        {"parameters": None},
        {"addresses": [["eth0/../x", "203.0.113.10"]]},
        {"addresses": [["eth0", "2001:db8::1"]]},
        {"addresses": [["eth0", 1]]},
        {"addresses": [[5, "203.0.113.10"]]},
    ],
)
def test_what_the_appliance_never_writes_is_refused_as_a_whole(file: Path, changed: dict[str, object]) -> None:
    write(file, **changed)
    with pytest.raises(EdgeError, match=r"damaged .*undo by hand"):
        read_leftovers(file)


LEFT = Leftovers(
    [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/eth0/rp_filter", "1"),
        ("ipv4/tcp_rmem", "4096 131072 6291456"),
        ("ipv4/tcp_fin_timeout", "-1"),
        ("netfilter/nf_conntrack_max", "18446744073709551615"),
    ],
    [("eth0", "203.0.113.10")],
    True,
)


def test_what_is_written_is_read_again(file: Path) -> None:
    file.write_text(as_text(LEFT))
    file.chmod(0o600)
    assert read_leftovers(file) == LEFT


def test_an_earlier_version_finds_what_it_knows() -> None:
    """It reads `sysctls` below net/ipv4, and refuses the whole file when one of them is none that it writes."""
    known = json.loads(as_text(LEFT))
    assert known["sysctls"] == [["ip_forward", "0"], ["conf/eth0/rp_filter", "1"]]
    assert [path for path, _ in known["parameters"]] == [
        "ipv4/tcp_rmem",
        "ipv4/tcp_fin_timeout",
        "netfilter/nf_conntrack_max",
    ]


def test_a_file_that_is_no_json_is_refused(file: Path) -> None:
    for text in ("", "[", "[" * 100_000, "5", "\udcff"):
        file.write_bytes(text.encode(errors="surrogateescape"))
        file.chmod(0o600)
        with pytest.raises(EdgeError, match="damaged"):
            read_leftovers(file)


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "other")
    file.symlink_to(tmp_path / "other")
    with pytest.raises(EdgeError, match="cannot be read"):
        read_leftovers(file)


def test_a_second_name_of_a_file_is_refused(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "other")
    file.hardlink_to(tmp_path / "other")
    with pytest.raises(EdgeError, match="regular file with one name"):
        read_leftovers(file)


def test_a_fifo_is_refused_at_once(file: Path) -> None:
    os.mkfifo(file, 0o600)
    with pytest.raises(EdgeError, match="regular file"):
        read_leftovers(file)


def test_a_file_that_others_can_write_or_that_is_too_long_is_refused(file: Path) -> None:
    write(file)
    file.chmod(0o620)
    with pytest.raises(EdgeError, match="others than root"):
        read_leftovers(file)
    file.write_bytes(b" " * (1 << 20) + b"{}")
    file.chmod(0o600)
    with pytest.raises(EdgeError, match="longer than"):
        read_leftovers(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    write(file)
    os.chown(file, 61_234, 61_234)
    with pytest.raises(EdgeError, match="others than root"):
        read_leftovers(file)
    os.chown(file.parent, 61_234, 61_234)
    assert read_leftovers(file)


@pytest.mark.parametrize("path", ["../../../../../tmp/x", "conf/../../x", "kernel/core_pattern", ""])
def test_no_other_file_is_ever_written_as_a_sysctl(path: str) -> None:
    with pytest.raises(EdgeError, match="no sysctl of the appliance"):
        sysctl.write(path, "1")


def test_a_cleanup_with_a_forged_file_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    host = Host()
    write(host._file, sysctls=[[os.path.relpath(victim, "/proc/sys/net/ipv4"), "0"]])
    with pytest.raises(EdgeError, match="damaged"):
        host.undo_leftovers()
    assert victim.read_text() == "precious"
