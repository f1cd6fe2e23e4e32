"""A gateway with five faults at once: the doctor names all five, the commands that it prints mend them, and it is content."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.doctor import connecting, doctor, make_sysctls_read_only, named, type_in

pytestmark = pytest.mark.once

LOCAL_ADDRESS = "10.77.0.10"

CONFIG = f"""
[gateway]
client_interface = "client0"
server_interface = "server0"

[sysctl]
fullnat_lport_min = 7001
fullnat_lport_max = 7008
fullnat_timestamp_remove_entry = 0

[local_addresses]
default = ["{LOCAL_ADDRESS}"]

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80

[[service.real_server]]
address = "192.0.2.101"
port = 8080

[[service.real_server]]
address = "192.0.2.102"
port = 8080
"""
"""Two of the faults: a port pool of eight, and timestamps of all clients behind one address."""

RIVAL = """
table ip rival {
    chain zones {
        type filter hook prerouting priority -250;
        ct zone set 7
    }
}
"""
"""A rule as those of container networks: it takes packets back into connection tracking."""

FAULTS = {
    "real_server_silent": "192.0.2.101",
    "rp_filter_strict": "server0",
    "local_ports_run_out": "default",
    "services_tracked": "",
    "timestamps_kept": "",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    config = tmp_path / "lvs.toml"
    config.write_text(CONFIG)
    yield from running_lab("--config", str(config), "--shards", "1", "--lane", "off")


def test_five_faults_are_named_and_mended_by_the_printed_commands(lab: RunningLab) -> None:
    lab.run("rs1", "ip", "route", "del", f"{LOCAL_ADDRESS}/32")
    make_sysctls_read_only(lab)
    lab.run("gateway", "sysctl", "-qw", "net.ipv4.conf.server0.rp_filter=1")
    subprocess.run(lab.enter("gateway", "nft", "-f", "-"), input=RIVAL, text=True, check=True)

    def all_are_named() -> bool:
        code, report = doctor(lab)
        return code == 20 and named(report) == FAULTS

    assert named(doctor(lab)[1], "note")["lane_not_on"] == ""
    with connecting(lab, 20):
        lab.wait_until("all five faults are named", all_are_named)
        _, report = doctor(lab)

    for finding in report["findings"]:
        assert finding["commands"] or finding["severity"] == "note", finding
        for command in finding["commands"] if finding["severity"] != "note" else ():
            type_in(lab, {"": "gateway", "192.0.2.101": "rs1"}[finding["run_on"]], command)

    for _ in range(40):
        assert lab.run("client", "curl", "--silent", "--show-error", "--max-time", "10", f"http://{lab.vip}:{lab.port}/")
    lab.wait_until("the doctor is content", lambda: doctor(lab)[0] == 0)
    assert named(doctor(lab)[1], "note").keys() <= {"lane_not_on", "local_ports_run_out"}
