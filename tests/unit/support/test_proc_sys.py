"""tests/support/proc_sys.py: the folder that stands for /proc/sys/net."""

from pathlib import Path

from tests.support.proc_sys import ProcSysNet


def test_it_has_what_a_kernel_of_today_has(tmp_path: Path) -> None:
    net = ProcSysNet(tmp_path)
    net.fill("eth0")
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_rmem"]) == ("60", "4096 131072 6291456")
    assert (net["ipv4/conf/all/send_redirects"], net["ipv4/conf/eth0/rp_filter"]) == ("1", "0")
    assert "ipv4/tcp_tw_recycle" not in net.all()
    assert not any("*" in path for path in net.all())


def test_what_is_written_is_read_without_blanks_around_it(tmp_path: Path) -> None:
    net = ProcSysNet(tmp_path)
    net["ipv4/tcp_fin_timeout"] = " 30\n"
    assert net["ipv4/tcp_fin_timeout"] == "30"
    assert net.all() == {"ipv4/tcp_fin_timeout": "30"}
