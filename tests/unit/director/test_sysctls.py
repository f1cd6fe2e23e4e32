"""sysctls.py: what is written below a folder that stands for /proc/sys/net, and what it holds after the end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.director.sysctls import Sysctls
from appliance.edge import sysctl
from appliance.edge.errors import EdgeError
from appliance.model.host_parameter import HostParameterError
from appliance.model.host_parameters import HOST_PARAMETERS
from tests.support.proc_sys import ProcSysNet

INTERFACES = ("client0", "server0")
FIN_TIMEOUT, RMEM, RP_FILTER = (HOST_PARAMETERS[name] for name in ("tcp_fin_timeout", "tcp_rmem", "rp_filter"))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcSysNet:
    monkeypatch.setattr(sysctl, "NET", tmp_path)
    net = ProcSysNet(tmp_path)
    net.fill(*INTERFACES, "other0")
    return net


@pytest.fixture
def sysctls(net: ProcSysNet) -> Sysctls:
    """Those of a run that has started; what it needs is set."""
    sysctls = Sysctls(lambda: None)
    sysctls.start({}, INTERFACES)
    assert net["ipv4/ip_forward"] == "1"
    return sysctls


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the kernel refuse writes to a path."""

    def refuse(refused: str) -> None:
        write = sysctl.write

        def write_or_not(path: str, value: str) -> None:
            if path == refused:
                raise EdgeError(f"cannot set {path}: Invalid argument")
            write(path, value)

        monkeypatch.setattr(sysctl, "write", write_or_not)

    return refuse


def test_a_start_sets_what_the_gateway_needs_then_what_is_wanted_and_the_end_undoes_both(net: ProcSysNet) -> None:
    net["ipv4/conf/client0/rp_filter"] = "1"
    before = net.all()
    sysctls = Sysctls(lambda: None)
    sysctls.start({"tcp_fin_timeout": (30,), "tcp_rmem": (4096, 8192, 16384), "rp_filter": (0,)}, INTERFACES)
    assert {path: value for path, value in net.all().items() if value != before[path]} == {
        "ipv4/ip_forward": "1",
        "ipv4/conf/all/send_redirects": "0",
        "ipv4/conf/client0/send_redirects": "0",
        "ipv4/conf/server0/send_redirects": "0",
        "ipv4/conf/client0/accept_local": "1",
        "ipv4/conf/server0/accept_local": "1",
        "ipv4/conf/client0/rp_filter": "0",
        "ipv4/tcp_fin_timeout": "30",
        "ipv4/tcp_rmem": "4096 8192 16384",
    }
    sysctls.undo()
    assert net.all() == before


def test_a_value_is_written_down_before_it_is_changed(net: ProcSysNet) -> None:
    written: list[tuple[int, str]] = []

    def note() -> None:
        written.append((len(run.before), net["ipv4/tcp_fin_timeout"]))

    run = Sysctls(note)
    run.write(FIN_TIMEOUT, "", (30,))
    assert written == [(1, "60")]
    assert run.before == [("ipv4/tcp_fin_timeout", "60")]
    run.write(FIN_TIMEOUT, "", (31,))
    assert written == [(1, "60")], "the first value is the one that comes back"
    run.undo()
    assert net["ipv4/tcp_fin_timeout"] == "60"


def test_what_cannot_be_written_down_is_not_changed(net: ProcSysNet) -> None:
    def fail() -> None:
        raise EdgeError("cannot write host.json: No space left on device")

    with pytest.raises(HostParameterError, match=r"tcp_fin_timeout: cannot write host\.json"):
        Sysctls(fail).write(FIN_TIMEOUT, "", (30,))
    assert net["ipv4/tcp_fin_timeout"] == "60"


def test_a_value_that_is_in_force_already_is_neither_written_nor_undone(sysctls: Sysctls) -> None:
    before = sysctls.before
    sysctls.write(RMEM, "", (4096, 131072, 6291456))
    assert sysctls.before == before


def test_odd_values_that_the_kernel_had_come_back_as_they_were(net: ProcSysNet, sysctls: Sysctls) -> None:
    net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_rmem"] = "-1", "8192\t4096\t1024"
    sysctls.write(FIN_TIMEOUT, "", (30,))
    sysctls.write(RMEM, "", (4096, 4096, 4096))
    sysctls.undo()
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_rmem"]) == ("-1", "8192 4096 1024")


def test_one_for_each_interface_is_written_at_those_of_the_gateway_alone(net: ProcSysNet, sysctls: Sysctls) -> None:
    sysctls.write(RP_FILTER, "", (2,))
    at = {place: net[f"ipv4/conf/{place}/rp_filter"] for place in ("all", *INTERFACES, "other0")}
    assert at == {"all": "0", "client0": "2", "server0": "2", "other0": "0"}
    sysctls.write(RP_FILTER, "server0", (0,))
    assert net["ipv4/conf/server0/rp_filter"] == "0"
    sysctls.write(RP_FILTER, "all", (2,))
    assert net["ipv4/conf/all/rp_filter"] == "2"


def test_values_that_would_break_the_gateway_are_refused_together_with_those_in_force(net: ProcSysNet, sysctls: Sysctls) -> None:
    with pytest.raises(HostParameterError, match="0 at client0, with 1 at all, would break"):
        sysctls.write(RP_FILTER, "all", (1,))
    sysctls.write(RP_FILTER, "", (2,))
    sysctls.write(RP_FILTER, "all", (1,))
    held = net.all()
    for place in ("", "server0"):
        with pytest.raises(HostParameterError, match=r"0 at (?:server|client)0, with 1 at all, would break"):
            sysctls.write(RP_FILTER, place, (0,))
    for name in ("accept_local", "ip_forward"):
        with pytest.raises(HostParameterError, match="would break the gateway"):
            sysctls.write(HOST_PARAMETERS[name], "", (0,))
    assert net.all() == held


def test_what_is_absent_or_read_only_is_refused_with_the_reason(net: ProcSysNet, sysctls: Sysctls) -> None:
    with pytest.raises(HostParameterError, match=r"tcp_tw_recycle: cannot be written: this kernel .* has it no more"):
        sysctls.write(HOST_PARAMETERS["tcp_tw_recycle"], "", (0,))
    (net.root / "netfilter/nf_conntrack_max").chmod(0o444)
    with pytest.raises(HostParameterError, match="nf_conntrack_max: cannot be written: it can be changed in the host's first"):
        sysctls.write(HOST_PARAMETERS["nf_conntrack_max"], "", (4096,))


def test_what_the_kernel_refuses_is_refused_and_nothing_has_changed(
    net: ProcSysNet, sysctls: Sysctls, refusing: Callable[[str], None]
) -> None:
    refusing("ipv4/conf/server0/rp_filter")
    with pytest.raises(HostParameterError, match=r"rp_filter: cannot set .*: Invalid argument"):
        sysctls.write(RP_FILTER, "", (2,))
    assert net["ipv4/conf/client0/rp_filter"] == "0", "the first interface has its old value again"


def test_of_several_changes_all_are_made_or_none(net: ProcSysNet, sysctls: Sysctls, refusing: Callable[[str], None]) -> None:
    sysctls.write(FIN_TIMEOUT, "", (30,))
    held = net.all()
    refusing("ipv4/tcp_rmem")
    with pytest.raises(HostParameterError, match="tcp_rmem"):
        sysctls.change({"tcp_retries2": (8,), "tcp_fin_timeout": None, "tcp_rmem": (4096, 4096, 4096)})
    assert net.all() == held
    put_back = sysctls.change({"tcp_retries2": (8,), "tcp_fin_timeout": None})
    assert (net["ipv4/tcp_retries2"], net["ipv4/tcp_fin_timeout"]) == ("8", "60")
    put_back()
    assert net.all() == held


def test_one_that_nobody_has_changed_has_no_old_value_to_get_back(net: ProcSysNet, sysctls: Sysctls) -> None:
    held = net.all()
    sysctls.change({"tcp_fin_timeout": None})()
    assert net.all() == held


def test_the_next_run_keeps_what_its_file_wants_and_puts_the_rest_back(net: ProcSysNet, sysctls: Sysctls) -> None:
    before_forward = dict(sysctls.before)
    sysctls.write(FIN_TIMEOUT, "", (30,))
    sysctls.write(HOST_PARAMETERS["tcp_retries2"], "", (8,))
    sysctls.leave()
    assert net["ipv4/tcp_fin_timeout"] == "30"

    following = Sysctls(lambda: None)
    following.adopt(sysctls.before)
    following.start({"tcp_retries2": (9,)}, INTERFACES)
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_retries2"], net["ipv4/ip_forward"]) == ("60", "9", "1")
    following.undo()
    assert (net["ipv4/tcp_retries2"], net["ipv4/ip_forward"]) == ("15", "0")
    assert before_forward["ipv4/ip_forward"] == "0"


def test_a_start_goes_on_without_what_the_kernel_refuses(
    net: ProcSysNet, refusing: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    refusing("ipv4/tcp_retries2")
    Sysctls(lambda: None).start({"tcp_retries2": (8,), "tcp_fin_timeout": (30,)}, INTERFACES)
    assert (net["ipv4/tcp_retries2"], net["ipv4/tcp_fin_timeout"]) == ("15", "30")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "kernel parameter: tcp_retries2: cannot set ipv4/tcp_retries2: Invalid argument"
    ]


def test_one_need_that_the_kernel_refuses_keeps_no_other_from_being_met(net: ProcSysNet, refusing: Callable[[str], None]) -> None:
    refusing("ipv4/conf/client0/accept_local")
    with pytest.raises(EdgeError, match="client0"):
        Sysctls(lambda: None).start({}, INTERFACES)
    assert (net["ipv4/ip_forward"], net["ipv4/conf/server0/accept_local"]) == ("1", "1")


@pytest.mark.parametrize("end", [Sysctls.undo, Sysctls.leave])
def test_after_the_end_nothing_is_changed(net: ProcSysNet, sysctls: Sysctls, end: Callable[[Sysctls], None]) -> None:
    end(sysctls)
    held = net.all()
    with pytest.raises(HostParameterError, match="tcp_fin_timeout: the appliance is ending"):
        sysctls.write(FIN_TIMEOUT, "", (30,))
    net["ipv4/conf/client0/send_redirects"] = "1"
    sysctls.set_needed(INTERFACES)
    assert net["ipv4/conf/client0/send_redirects"] == "1"
    assert {**net.all(), "ipv4/conf/client0/send_redirects": ""} == {**held, "ipv4/conf/client0/send_redirects": ""}


def test_an_end_undoes_the_rest_when_one_step_fails(net: ProcSysNet, sysctls: Sysctls, refusing: Callable[[str], None]) -> None:
    sysctls.write(FIN_TIMEOUT, "", (30,))
    sysctls.write(HOST_PARAMETERS["tcp_retries2"], "", (8,))
    refusing("ipv4/tcp_retries2")
    sysctls.undo()
    assert (net["ipv4/tcp_retries2"], net["ipv4/tcp_fin_timeout"], net["ipv4/ip_forward"]) == ("8", "60", "0")
