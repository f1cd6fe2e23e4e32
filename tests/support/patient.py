"""A healthy gateway as the doctor sees it, and ways to make it ill."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from appliance.doctor.examine import examine
from appliance.doctor.facts import Clock, Interface, Path, Running, Sample, ServerCounts, Setup, ShardPorts, Snapshot, Tracked
from appliance.doctor.finding import Finding, Severity
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import DutyState, LaneState, ShardState
from appliance.model.tunables import TUNABLES
from appliance.policy.sides import Sides

WEB = ServicePlan(
    name="web",
    vip="203.0.113.10",
    port=80,
    scheduler="rr",
    local_addresses=("10.9.0.10", "10.9.0.11"),
    real_servers=(RealServerPlan("192.0.2.101", 8080, 100, 0), RealServerPlan("192.0.2.102", 8080, 100, 1)),
    synproxy="auto",
    synproxy_defer=0,
)

TWO_ARMED = Sides(("client0",), ("server0",))
ONE_ARMED = Sides(("server0",), ("server0",), (IPv4Network("192.0.2.0/24"),))

DEFAULTS = {name: tunable.default for name, tunable in TUNABLES.items()}

SETUP = Setup((WEB,), {"default": WEB.local_addresses}, TWO_ARMED, DEFAULTS)

SYSCTLS = {
    "net/ipv4/tcp_fin_timeout": "60",
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "1024",
    "net/ipv4/ip_forward": "1",
    **{
        f"net/ipv4/conf/{place}/{name}": value
        for place, values in (("all", "000"), ("client0", "010"), ("server0", "010"))
        for name, value in zip(("rp_filter", "accept_local", "send_redirects"), values, strict=True)
    },
}

INTERFACES = {
    "client0": Interface(1500, True, False, ("198.51.100.1/24", "203.0.113.10/32")),
    "server0": Interface(1500, True, False, ("192.0.2.1/24", "10.9.0.10/32", "10.9.0.11/32")),
}

PATHS: dict[str, Path | None] = {
    "192.0.2.101": Path("server0", "", "192.0.2.1", 1500),
    "192.0.2.102": Path("server0", "", "192.0.2.1", 1500),
}

RUNNING = Running(
    shards=(ShardState(0, True, 100, 1), ShardState(1, True, 101, 1)),
    duties=(DutyState("look at routes", 0, ""),),
    lane=LaneState("on", ""),
    problems=(),
    missing_addresses=(),
    ports=(ShardPorts((10, 10), (5, 5), 10, 30_268), ShardPorts((10, 10), (5, 5), 10, 30_268)),
)


def sample(at_s: float = 0.0, servers: Sequence[ServerCounts] = (), **changes: Any) -> Sample:
    """A sample at `at_s`, when the clock on the wall is a million seconds further."""
    words = array("Q", [number for counts in servers for number in counts])
    quiet = Sample(at_s=at_s, wall_s=1e6 + at_s, tcp_ext={}, conntrack={}, servers=words, starts=(1, 1))
    return replace(quiet, **changes)


QUIET = (sample(0), sample(10), sample(20), sample(30))

HEALTHY = Snapshot(
    setup=SETUP,
    sysctls=SYSCTLS,
    interfaces=INTERFACES,
    paths=PATHS,
    neighbours={"192.0.2.101": "REACHABLE", "192.0.2.102": "STALE"},
    clock=Clock("tsc", ("tsc", "hpet")),
    tracked=Tracked(0, "", ()),
    running=RUNNING,
    samples=QUIET,
    missing_sets=(),
)


def patient(**changes: Any) -> Snapshot:
    """The healthy gateway with other facts."""
    return replace(HEALTHY, **changes)


def with_sysctls(values: Mapping[str, str]) -> Snapshot:
    """The healthy gateway with other kernel parameters."""
    return patient(sysctls={**SYSCTLS, **values})


def with_tunables(values: Mapping[str, int], **changes: Any) -> Snapshot:
    """The healthy gateway with other tunables."""
    return patient(setup=SETUP._replace(tunables={**DEFAULTS, **values}), **changes)


def with_running(**changes: Any) -> Snapshot:
    """The healthy gateway that says something else of itself."""
    return patient(running=RUNNING._replace(**changes))


def rising(seconds: float, **after: Any) -> Snapshot:
    """The healthy gateway whose sample of this moment, so many seconds after the other one, has these numbers."""
    return patient(samples=(sample(0), sample(seconds, **after)))


def found(name: str, snapshot: Snapshot) -> list[Finding]:
    """What one check finds; all others find nothing that is worse than a note."""
    report = examine(snapshot)
    others = [finding for finding in report.findings if finding.name != name and finding.severity > Severity.NOTE]
    assert others == []
    return [finding for finding in report.findings if finding.name == name]


def severity(name: str, snapshot: Snapshot) -> Severity:
    """How bad the findings of one check are: the worst of them, OK when there is none."""
    return max((finding.severity for finding in found(name, snapshot)), default=Severity.OK)
