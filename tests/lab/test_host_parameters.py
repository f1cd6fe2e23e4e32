"""The parameters of the host's kernel: read and written through the API, the file and the command, and put back at every end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.model.host_parameters import HOST_PARAMETERS
from tests.lab.bare_gateway import Appliance, inside
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import outcome, reload

pytestmark = pytest.mark.once

PLACES = ("all", "client0", "server0")
PATHS = [
    parameter.path_at(place) for parameter in HOST_PARAMETERS.values() for place in (PLACES if parameter.per_interface else ("",))
]
ABSENT = {"tcp_tw_recycle", "tcp_mem", "tcp_max_orphans"}
"""What no kernel of today has, or what has its place in the first namespace of the host."""

READ_ONLY = {"nf_conntrack_max", "nf_conntrack_buckets"}
OTHERS = {
    "tcp_timestamps": "0",
    "tcp_tw_reuse": "1",
    "tcp_fin_timeout": "30",
    "tcp_max_tw_buckets": "5000",
    "tcp_rfc1337": "1",
    "tcp_syncookies": "2",
    "tcp_max_syn_backlog": "1024",
    "tcp_abort_on_overflow": "1",
    "tcp_syn_retries": "3",
    "tcp_synack_retries": "2",
    "ip_local_port_range": "10240 61000",
    "tcp_retries1": "4",
    "tcp_retries2": "8",
    "tcp_orphan_retries": "2",
    "tcp_rmem": "4096 65536 1048576",
    "tcp_wmem": "4096 65536 1048576",
    "tcp_keepalive_time": "600",
    "tcp_keepalive_intvl": "30",
    "tcp_keepalive_probes": "4",
    "rp_filter": "2",
    "accept_local": "1",
    "send_redirects": "0",
    "ip_forward": "1",
    "nf_conntrack_tcp_timeout_established": "7440",
}
"""Another value than the kernel's own; of those that the gateway needs, the one that it needs."""


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", "1")


def state_in(namespace: str) -> dict[str, str]:
    """The parameters of a namespace by path, as `cat` finds them there."""
    script = 'cd /proc/sys/net && for path in "$@"; do echo "$path: $(cat "$path" 2>/dev/null || echo absent)"; done'
    lines = inside(namespace, "sh", "-c", script, "sh", *PATHS).splitlines()
    return {path: " ".join(text.split()) for path, _, text in (line.partition(": ") for line in lines)}


def in_kernel(lab: RunningLab) -> dict[str, str]:
    return state_in(lab.namespace("gateway"))


def put(lab: RunningLab, name: str, value: str) -> str:
    return lab.api(f"/host/sysctl/{name}", "-X", "PUT", "-d", value)


def command(lab: RunningLab, *words: str) -> "subprocess.CompletedProcess[str]":
    line = lab.enter("gateway", sys.executable, "-m", "appliance", *words)
    environment = os.environ | {"APPLIANCE_API": lab.environment["LAB_API"], "RUNTIME_DIRECTORY": lab.environment["LAB_DIR"]}
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_one_by_one_each_is_read_written_where_it_can_be_and_put_back(lab: RunningLab) -> None:
    listed: dict[str, Any] = lab.api_json("/host/sysctl")
    assert {name for name, row in listed.items() if row["state"] == "absent"} == ABSENT
    assert {name for name, row in listed.items() if row["state"] == "read-only"} == READ_ONLY
    assert OTHERS.keys() == HOST_PARAMETERS.keys() - ABSENT - READ_ONLY
    for name, value in OTHERS.items():
        before = lab.api(f"/host/sysctl/{name}")
        held = in_kernel(lab)
        written = put(lab, name, value)
        parameter = HOST_PARAMETERS[name]
        for place in PLACES[1:] if parameter.per_interface else ("",):
            assert in_kernel(lab)[parameter.path_at(place)] == value
        assert written == lab.api(f"/host/sysctl/{name}")
        if not parameter.per_interface:
            assert written == f"{value}\n"
            assert put(lab, name, before.strip()) == before
            assert in_kernel(lab) == held
    for name in ABSENT | READ_ONLY:
        before = lab.api(f"/host/sysctl/{name}")
        assert "cannot be written: " in put(lab, name, "4096 8192 16384" if name == "tcp_mem" else "4096")
        assert lab.api(f"/host/sysctl/{name}") == before


def test_the_example_of_the_manual(lab: RunningLab) -> None:
    assert lab.api("/host/sysctl/tcp_fin_timeout") == "60\n"
    assert put(lab, "tcp_fin_timeout", "30") == "30\n"
    assert lab.run("gateway", "cat", "/proc/sys/net/ipv4/tcp_fin_timeout") == "30\n"
    assert put(lab, "tcp_fin_timeout", "0") == "tcp_fin_timeout: 0 is out of range 1..3600 s; the value stays 30\n"
    assert put(lab, "ip_forward", "0").startswith("ip_forward: 0 would break the gateway.")
    assert lab.api("/sysctl/tcp_fin_timeout").startswith(
        "there is no tunable 'tcp_fin_timeout'; net.ipv4.tcp_fin_timeout is a parameter of the host: /host/sysctl/tcp_fin_timeout"
    )
    explained = command(lab, "host", "sysctl", "/proc/sys/net/ipv4/tcp_fin_timeout").stdout.splitlines()
    assert explained[0] == "net.ipv4.tcp_fin_timeout = 30"
    refused = command(lab, "host", "sysctl", "tcp_rmem", "4096", "8192", "8191")
    assert refused.stderr.startswith("appliance: tcp_rmem: max 8191 is below default, which is 8192")
    assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}


def with_table(lab: RunningLab, *lines: str) -> str:
    """The configuration of the lab with a table [host.sysctl] of these lines."""
    text = (Path(lab.environment["LAB_DIR"]) / "lvs.toml").read_text()
    before, _, rest = text.partition("[host.sysctl]\n")
    return "\n".join([f"{before}[host.sysctl]", *lines, rest[rest.index("[local_addresses]") :]])


def test_a_reload_sets_changes_and_puts_back_and_a_refused_one_does_nothing(lab: RunningLab) -> None:
    held = in_kernel(lab)
    log = reload(lab, with_table(lab, "tcp_fin_timeout = 30", "ip_local_port_range = [2000, 4999]"))
    assert outcome(log) == "configuration read again, changes: 2"
    changed = {"ipv4/tcp_fin_timeout": "30", "ipv4/ip_local_port_range": "2000 4999"}
    assert in_kernel(lab) == held | changed
    lab.run("gateway", "sysctl", "-q", "-w", "net.ipv4.ip_unprivileged_port_start=1500")  # the kernel takes none below it
    log = reload(lab, with_table(lab, "tcp_fin_timeout = 20", "ip_local_port_range = [1400, 4999]"))
    assert outcome(log) == "reload refused, nothing has changed"
    assert "ip_local_port_range: cannot set net.ipv4.ip_local_port_range to 1400 4999: Invalid argument" in log
    assert in_kernel(lab) == held | changed
    assert outcome(reload(lab, with_table(lab, "tcp_fin_timeout = 30"))) == "configuration read again, changes: 1"
    assert in_kernel(lab) == held | {"ipv4/tcp_fin_timeout": "30"}


WANTED = "tcp_retries2 = 8\nrp_filter = 0\ntcp_mem = [4096, 8192, 16384]"


def test_a_stop_and_a_cleanup_after_a_crash_put_back_what_the_file_and_the_api_have_changed(
    bare_gateway: str, tmp_path: Path
) -> None:
    inside(bare_gateway, "sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.tcp_rmem=8192 4096 1048576")
    before = state_in(bare_gateway)
    assert before["ipv4/tcp_rmem"] == "8192 4096 1048576", "the kernel takes what makes no sense"
    for end in (signal.SIGTERM, signal.SIGKILL):
        appliance = Appliance(bare_gateway, tmp_path, host_sysctl=WANTED)
        log = appliance.wait_until_ready()
        (error,) = [line for line in log if " ERROR " in line]
        assert "tcp_mem: cannot be written: it is there in the host's first network namespace only" in error
        write(bare_gateway, "tcp_rmem", "4096 8192 1048576")
        write(bare_gateway, "net.ipv4.conf.all.rp_filter", "2")
        running = state_in(bare_gateway)
        assert {path: running[path] for path in ("ipv4/tcp_retries2", "ipv4/tcp_rmem", "ipv4/conf/all/rp_filter")} == {
            "ipv4/tcp_retries2": "8",
            "ipv4/tcp_rmem": "4096 8192 1048576",
            "ipv4/conf/all/rp_filter": "2",
        }
        appliance.end(end)
        if end == signal.SIGKILL:
            assert state_in(bare_gateway) == running, "a killed director can put nothing back"
            appliance.cleanup()
        assert state_in(bare_gateway) == before


def test_a_restart_keeps_what_the_file_wants_and_puts_back_what_the_api_wrote(bare_gateway: str, tmp_path: Path) -> None:
    before = state_in(bare_gateway)
    first = Appliance(bare_gateway, tmp_path, host_sysctl="tcp_retries2 = 8")
    first.wait_until_ready()
    write(bare_gateway, "tcp_fin_timeout", "30")
    assert first.end(signal.SIGUSR2) == 0
    assert state_in(bare_gateway)["ipv4/tcp_fin_timeout"] == "30"
    second = Appliance(bare_gateway, tmp_path, host_sysctl="tcp_retries2 = 8")
    second.wait_until_ready()
    now = state_in(bare_gateway)
    assert (now["ipv4/tcp_fin_timeout"], now["ipv4/tcp_retries2"], now["ipv4/ip_forward"]) == ("60", "8", "1")
    assert second.end(signal.SIGTERM) == 0
    assert state_in(bare_gateway) == before


def write(namespace: str, name: str, value: str) -> None:
    """Write a parameter through the API of the appliance in a namespace."""
    url = f"http://127.0.0.1:9380/host/sysctl/{name}"
    inside(namespace, "curl", "--silent", "--show-error", "--fail-with-body", "-X", "PUT", "-d", value, url)
