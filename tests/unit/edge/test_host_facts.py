"""host_facts.py: what can be tried without a kernel of one's own."""

from pathlib import Path

import pytest

from appliance.edge import host_facts

NETSTAT = """\
TcpExt: SyncookiesSent PAWSActive ListenOverflows
TcpExt: 3 0 18446744073709551615
IpExt: InNoRoutes ListenOverflows
IpExt: 7 8
"""


def test_netstat_is_read_by_the_names_in_it() -> None:
    assert host_facts.parse_tcp_ext(NETSTAT) == {"SyncookiesSent": 3, "PAWSActive": 0, "ListenOverflows": 18446744073709551615}


@pytest.mark.parametrize("text", ["", "IpExt: a\nIpExt: 1\n", "TcpExt: a\n"])
def test_a_kernel_without_these_counters(text: str) -> None:
    assert host_facts.parse_tcp_ext(text) == {}


def test_parameters_that_do_not_exist_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "some").write_text("32768\t60999\n")
    monkeypatch.setattr(host_facts, "_SYSCTLS", tmp_path)
    assert host_facts.sysctls(["net/some", "net/none"]) == {"net/some": "32768\t60999"}


def test_the_loopback_interface() -> None:
    """Every network namespace has it."""
    found = host_facts.interfaces(["lo", "nothing"])
    assert set(found) == {"lo"}
    assert (found["lo"].mtu, found["lo"].merges_for_good) == (65536, False)


def test_the_way_to_this_host_itself() -> None:
    path = host_facts.paths(["127.0.0.1"])["127.0.0.1"]
    assert path is not None
    assert (path.interface, path.via) == ("lo", "")
