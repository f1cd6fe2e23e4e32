"""Checks of tables that can be full: the host's connection tracking, local ports, sessions. With a forecast where one grows."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from appliance.doctor.commands import delete_rule, set_sysctl, write_tunable
from appliance.doctor.facts import Running, Sample, Setup, ShardPorts, Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import counted, duration, held_ports, risen, seconds_until
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import LOCAL_PORTS_EXHAUSTED, SYN_BACKLOG_FULL, TABLE_FULL

NEARLY_FULL, FULL = 0.8, 0.95
"""Parts of a table. From the first one on it is a warning, from the second on an error."""

FORECAST_FROM = 0.25
"""A table that is emptier is not said to be full soon, however fast it grows."""

FORECAST_S = 7200.0

CONNTRACK_MAX = "net/netfilter/nf_conntrack_max"

_ENTRIES_PER_BUCKET = 8


def _when_full(seconds: float | None) -> str:
    return f"; at this rate it is used up in {duration(seconds)}" if seconds is not None else ""


def _severity(part: float, seconds: float | None, lost: int) -> Severity:
    """How bad it is that a table is full to this part, will be full in so many seconds, and has lost so much."""
    if lost or part >= FULL:
        return Severity.ERROR
    soon = seconds is not None and seconds <= FORECAST_S and part >= FORECAST_FROM
    return Severity.WARNING if part >= NEARLY_FULL or soon else Severity.OK


def conntrack_full(snapshot: Snapshot) -> Iterator[Finding]:
    """Counted for this network namespace."""
    assert snapshot.samples is not None
    now = snapshot.newest.conntrack
    most = now.get("max", 0)
    if not most:
        return
    part = now["count"] / most
    lost = risen(snapshot.samples, lambda sample: sample.conntrack.get("drop", 0) + sample.conntrack.get("insert_failed", 0))
    seconds = seconds_until(snapshot.samples, lambda sample: sample.conntrack.get("count", 0), most)
    severity = _severity(part, seconds, lost.by if part >= NEARLY_FULL else 0)
    if severity:
        yield Finding(
            severity,
            "",
            "the host's connection tracking is nearly full; then the host drops every new connection that it tracks",
            f"{now['count']} of {most} entries ({part:.0%}){_when_full(seconds)}; packets dropped: {lost}",
            "Sessions of the gateway are not in it. Find out what is (conntrack -L), take it out with notrack, or raise the "
            "limit (on the machine itself, not in a container).",
            (set_sysctl(CONNTRACK_MAX, str(2 * most)),),
        )


def conntrack_chains(snapshot: Snapshot) -> Iterator[Finding]:
    """The kernel's own default has one to four entries for each bucket."""
    assert snapshot.samples is not None
    now = snapshot.newest.conntrack
    buckets, count = now.get("buckets", 0), now.get("count", 0)
    if buckets and count > _ENTRIES_PER_BUCKET * buckets:
        yield Finding(
            Severity.NOTE,
            "",
            "the host's connection tracking has few buckets for its entries, so that each look-up takes long",
            f"{count} entries in {buckets} buckets",
            "Have one bucket for four entries; the machine itself sets it, not a container.",
            (set_sysctl("net/netfilter/nf_conntrack_buckets", str(now["max"] // 4)),),
        )


def services_tracked(snapshot: Snapshot) -> Iterator[Finding]:
    """The rules of the appliance take its packets out (`notrack`), so something has brought them back in."""
    assert snapshot.tracked is not None
    if not snapshot.tracked.entries:
        return
    rules = snapshot.tracked.zone_rules
    guilty = ", ".join(f"{family} {table} {chain}" for family, table, chain, _ in rules)
    yield Finding(
        Severity.WARNING,
        "",
        "the host tracks connections of services, which fills its table and may give their packets other addresses",
        f"{snapshot.tracked.entries} entries of the last half minute, for instance {snapshot.tracked.example}"
        + (f"; rules with `ct zone set`: {guilty}" if guilty else ""),
        "A rule that sets a conntrack zone, between priorities -310 and -200, brings packets back that were taken out. "
        "Delete it, "
        "or let it leave out packets with `ct state untracked`, in its own configuration too."
        if rules
        else "Look for rules of others at prerouting between priorities -310 and -200.",
        tuple(delete_rule(*rule) for rule in rules),
    )


class _Use(NamedTuple):
    """How full the local ports towards one real server are, in the shard where they are fullest."""

    part: float
    held: int
    ports: int
    service: ServicePlan
    server: RealServerPlan


def pools(snapshot: Snapshot) -> Iterator[Finding]:
    """One finding for each pool, about the real server towards which it is fullest."""
    assert snapshot.setup is not None
    assert snapshot.running is not None
    assert snapshot.samples is not None
    refused = risen(snapshot.samples, counted(LOCAL_PORTS_EXHAUSTED.name))
    for pool, use in _fullest(snapshot.setup, snapshot.running).items():
        capacity = len(use.service.local_addresses) * sum(shard.ports for shard in snapshot.running.ports)
        seconds = seconds_until(snapshot.samples, partial(_held, use.server.slot), capacity)
        severity = _severity(use.part, seconds, refused.by if use.part >= NEARLY_FULL else 0)
        if severity:
            server = f"{use.server.address}:{use.server.port}"
            yield Finding(
                severity,
                pool,
                f"local ports of pool {pool} run out towards real server {server}; without one a new session is refused",
                f"about {use.held} of {use.ports} ports of a shard ({use.part:.0%}){_when_full(seconds)}; sessions refused: "
                f"{refused}",
                "Use more ports, or add addresses to the pool in [local_addresses] and restart; or let idle sessions end sooner "
                "(tcp_timeout_established).",
                _wider(snapshot.setup.tunables),
            )


def _wider(tunables: Mapping[str, int]) -> tuple[str, ...]:
    """Commands that give sessions all ports that a gateway uses by default; none when they have them."""
    low, high = TUNABLES["fullnat_lport_min"], TUNABLES["fullnat_lport_max"]
    commands = [write_tunable(high.name, high.default)] if tunables[high.name] < high.default else []
    return (*commands, *([write_tunable(low.name, low.default)] if tunables[low.name] > low.default else []))


def _fullest(setup: Setup, running: Running) -> dict[str, _Use]:
    """By pool; without pools of which no port is in use. Services that share a real server share its ports."""
    pool_of = {addresses: name for name, addresses in setup.pools.items()}
    sharing: dict[tuple[str, str, str, int], list[int]] = {}
    each = [
        (pool_of[service.local_addresses], service, server)
        for service in setup.services
        if service.local_addresses in pool_of
        for server in service.real_servers
    ]
    for pool, service, server in each:
        sharing.setdefault((pool, service.protocol, server.address, server.port), []).append(server.slot)
    fullest: dict[str, _Use] = {}
    for pool, service, server in each:
        slots = sharing[pool, service.protocol, server.address, server.port]
        for shard in running.ports:
            ports = shard.ports * len(service.local_addresses)
            held = _held_in(shard, slots)
            if ports and held and (pool not in fullest or held / ports > fullest[pool].part):
                fullest[pool] = _Use(held / ports, round(held), ports, service, server)
    return fullest


def _held_in(shard: ShardPorts, slots: list[int]) -> float:
    sessions, inactive = sum(shard.sessions[slot] for slot in slots), sum(shard.inactive[slot] for slot in slots)
    all_inactive = sum(shard.inactive)
    return sessions - inactive * min(1.0, shard.time_wait / all_inactive) if all_inactive else float(sessions)


def _held(slot: int, sample: Sample) -> float:
    width = len(sample.server(slot))
    all_inactive = sum(sample.servers[width - 1 :: width])
    return held_ports(sample.server(slot), sample.time_wait, all_inactive)


def session_table(snapshot: Snapshot) -> Iterator[Finding]:
    """Sessions in TIME_WAIT do not count: they make room."""
    assert snapshot.setup is not None
    assert snapshot.samples is not None
    most = snapshot.setup.tunables["conn_max"]
    if not most:
        return
    now = snapshot.newest
    part = (now.sessions - now.time_wait) / most
    refused = risen(snapshot.samples, counted(TABLE_FULL.name))
    seconds = seconds_until(snapshot.samples, lambda sample: sample.sessions - sample.time_wait, most)
    severity = _severity(part, seconds, refused.by if part >= NEARLY_FULL else 0)
    if severity:
        yield Finding(
            severity,
            "",
            "the table of sessions is nearly full; then new sessions are refused",
            f"{now.sessions} sessions, {now.time_wait} of them in TIME_WAIT, at most {most} ({part:.0%}){_when_full(seconds)}; "
            f"refused: {refused}",
            "Look for a client with very many (appliance top-clients). Raise conn_max when there is memory: a session takes "
            "0.7 KiB.",
            (write_tunable("conn_max", min(2 * most, TUNABLES["conn_max"].max)),),
        )


def backlog(snapshot: Snapshot) -> Iterator[Finding]:
    """Half-open sessions of a service without SYN cookies."""
    assert snapshot.setup is not None
    assert snapshot.samples is not None
    refused = risen(snapshot.samples, counted(SYN_BACKLOG_FULL.name))
    if refused.by:
        most = snapshot.setup.tunables["tcp_max_syn_backlog"]
        yield Finding(
            Severity.WARNING,
            "",
            "SYNs of clients are refused, because a service has as many half-open sessions as it may have",
            f"{refused} ({SYN_BACKLOG_FULL.name}); tcp_max_syn_backlog is {most}",
            'With synproxy = "auto" such a service answers with SYN cookies instead. Or its real servers answer slowly.',
            (write_tunable("tcp_max_syn_backlog", min(2 * most, TUNABLES["tcp_max_syn_backlog"].max)),),
        )


_LEVELS = (
    f"a warning from {NEARLY_FULL:.0%} on, or from {FORECAST_FROM:.0%} on when at the rate of the last minutes it is full within "
    "two hours; an error"
)

CHECKS = (
    Check(
        "conntrack_full",
        conntrack_full,
        ("samples",),
        f"About nf_conntrack_count against nf_conntrack_max: {_LEVELS} from {FULL:.0%} on, or when packets were dropped for it.",
        "The kernel drops new connections: `nf_conntrack: table full, dropping packet`.",
    ),
    Check(
        "conntrack_few_buckets",
        conntrack_chains,
        ("samples",),
        f"A note when the host tracks more than {_ENTRIES_PER_BUCKET} connections for each of its buckets.",
        "Each packet of the host that is tracked searches a long chain.",
    ),
    Check(
        "services_tracked",
        services_tracked,
        ("tracked", "running"),
        "A warning when connection tracking has entries with a VIP and the port of a service, or with a local address and a "
        "local "
        "port, that have seen a packet within half a minute.",
        "The host's table fills with sessions, and rules of NAT may change their packets.",
    ),
    Check(
        "local_ports_run_out",
        pools,
        ("setup", "running", "samples"),
        f"For each pool of local addresses, about the ports of sessions that are not in TIME_WAIT, towards the real server and "
        f"in the shard where they are fullest: {_LEVELS} from {FULL:.0%} on, or when sessions were refused for it.",
        "One local address has one session to a real server for each port. Sessions in TIME_WAIT give theirs up.",
    ),
    Check(
        "session_table_full",
        session_table,
        ("setup", "samples", "running"),
        f"About the sessions that are not in TIME_WAIT, against conn_max: {_LEVELS} from {FULL:.0%} on, or when sessions were "
        "refused for it.",
        "New clients are refused.",
    ),
    Check(
        "syn_backlog_full",
        backlog,
        ("setup", "samples", "running"),
        "A warning when SYNs were refused for a full backlog within the last minute.",
        "It is a flood, or the real servers answer slowly. Clients try again after a second.",
    ),
)
