"""edge/host_parameters.py: what is read below a folder that stands for /proc/sys/net, and why something is not there."""

import os
from pathlib import Path

import pytest

from appliance.edge import sysctl
from appliance.edge.errors import EdgeError
from appliance.edge.host_parameters import read
from appliance.model.host_parameter import HostReading
from appliance.model.host_parameters import HOST_PARAMETERS
from tests.support.proc_sys import ProcSysNet


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcSysNet:
    monkeypatch.setattr(sysctl, "NET", tmp_path)
    return ProcSysNet(tmp_path)


def reading(name: str, *interfaces: str) -> HostReading:
    return read(HOST_PARAMETERS[name], interfaces)


def test_one_number_and_several(net: ProcSysNet) -> None:
    net["ipv4/tcp_fin_timeout"] = "60\n"
    net["ipv4/tcp_rmem"] = "4096\t131072\t6291456\n"
    assert reading("tcp_fin_timeout") == HostReading(HOST_PARAMETERS["tcp_fin_timeout"], {"": (60,)}, "writable", "")
    assert reading("tcp_rmem").values == {"": (4096, 131072, 6291456)}


def test_all_and_each_interface_that_is_there(net: ProcSysNet) -> None:
    for place, value in (("all", "0"), ("eth0", "1"), ("eth0.5", "2"), ("lo", "1")):
        net[f"ipv4/conf/{place}/rp_filter"] = value
    assert reading("rp_filter", "eth0", "eth0.5", "gone0", "eth0").values == {"all": (0,), "eth0": (1,), "eth0.5": (2,)}


@pytest.mark.usefixtures("net")
def test_a_removed_parameter_is_absent_and_the_kernel_is_named() -> None:
    found = reading("tcp_tw_recycle")
    assert (found.values, found.state) == ({}, "absent")
    assert found.reason == f"this kernel ({os.uname().release}) has it no more: Linux 4.12 removed it"


def test_where_a_removed_parameter_is_still_there_it_is_shown_and_never_written(net: ProcSysNet) -> None:
    net["ipv4/tcp_tw_recycle"] = "1"
    found = reading("tcp_tw_recycle")
    assert (found.values, found.state) == ({"": (1,)}, "read-only")
    assert found.reason.startswith("the appliance does not write it: it drops clients behind a NAT")


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize("name", ["tcp_mem", "tcp_max_orphans"])
def test_what_the_first_namespace_alone_has_is_absent_in_others(name: str) -> None:
    found = reading(name)
    assert found.state == "absent"
    assert found.reason.startswith("it is there in the host's first network namespace only")


def test_what_others_can_only_read_is_read_only(net: ProcSysNet) -> None:
    net["netfilter/nf_conntrack_max"] = "262144"
    (net.root / "netfilter/nf_conntrack_max").chmod(0o444)
    found = reading("nf_conntrack_max")
    assert (found.values, found.state) == ({"": (262144,)}, "read-only")
    assert found.reason.startswith("it can be changed in the host's first network namespace only")


def test_without_connection_tracking_its_parameters_say_so(net: ProcSysNet) -> None:
    assert reading("nf_conntrack_buckets").reason == "connection tracking is not loaded, so the host tracks nothing"
    net["netfilter/nf_conntrack_count"] = "0"
    assert reading("nf_conntrack_buckets").reason.startswith("it is there in the host's first network namespace only")
    assert reading("nf_conntrack_tcp_timeout_established").reason == f"this kernel ({os.uname().release}) does not have it"


@pytest.mark.usefixtures("net")
def test_what_an_old_kernel_lacks_is_absent() -> None:
    kernel = f"this kernel ({os.uname().release})"
    assert reading("accept_local", "eth0").reason == f"{kernel} does not have it; it is there since Linux 2.6.33"


def test_what_is_no_number_is_an_error_and_not_a_value(net: ProcSysNet) -> None:
    net["ipv4/tcp_fin_timeout"] = "many"
    with pytest.raises(EdgeError, match=r"net\.ipv4\.tcp_fin_timeout is 'many'"):
        reading("tcp_fin_timeout")


def test_what_cannot_be_read_is_an_error_and_not_absent(net: ProcSysNet) -> None:
    (net.root / "ipv4/tcp_fin_timeout").mkdir(parents=True)
    with pytest.raises(EdgeError, match=r"cannot read net\.ipv4\.tcp_fin_timeout"):
        reading("tcp_fin_timeout")
