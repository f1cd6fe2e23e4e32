"""Checks of the gateway's own processes, queues, steering, clock and configuration."""

from collections.abc import Iterator
from functools import partial

from appliance.doctor.facts import Sample, Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import counted, risen
from appliance.ipc.early import IN_AUTO
from appliance.model.verdicts import INTERNAL_ERROR

_DROPS = ("queue_full_drops", "socket_drops")


def away(snapshot: Snapshot) -> Iterator[Finding]:
    """Only who looks at the host alone can find that."""
    if snapshot.is_away:
        yield Finding(
            Severity.ERROR,
            "",
            "no appliance runs here, so nobody serves clients",
            "nobody listens where its API would be",
            "Start it: systemctl start appliance. When it does not stay: journalctl -u appliance.",
        )


def workers(snapshot: Snapshot) -> Iterator[Finding]:
    """Those that are down now, and those that have died a moment ago."""
    assert snapshot.running is not None
    for shard in snapshot.running.shards:
        if shard.up:
            continue
        how = f"does nothing for {shard.silent_s:.0f} s" if shard.silent_s else "is away"
        yield Finding(
            Severity.ERROR,
            f"shard {shard.shard}",
            f"the worker of shard {shard.shard} {how}: its new connections wait",
            f"started {shard.starts} times, process {shard.pid or 'none'}",
            "It is started again by itself. The log says why it ended: journalctl -u appliance.",
        )


def restarts(snapshot: Snapshot) -> Iterator[Finding]:
    """Every start after the first one of a run means that a worker has died."""
    assert snapshot.samples is not None
    assert snapshot.running is not None
    span_s = snapshot.newest.at_s - snapshot.samples[0].at_s
    for shard in snapshot.running.shards:
        rise = risen(snapshot.samples, partial(_start_count, shard.shard), span_s)
        if rise.by:
            yield Finding(
                Severity.WARNING if rise.by < 3 else Severity.ERROR,
                f"shard {shard.shard}",
                f"the worker of shard {shard.shard} was started again; its sessions outside of the lane ended with it",
                f"starts: {rise}",
                "The log says why it ended: journalctl -u appliance. An `internal error` there is a fault of ours; please "
                "report it.",
            )


def _start_count(shard: int, sample: Sample) -> int:
    return sample.starts[shard] if shard < len(sample.starts) else 0


def duties(snapshot: Snapshot) -> Iterator[Finding]:
    """A duty that has failed begins anew; what it looks after was not looked after meanwhile."""
    assert snapshot.running is not None
    assert snapshot.samples is not None
    span_s = snapshot.newest.at_s - snapshot.samples[0].at_s
    for duty in snapshot.running.duties:
        if duty.failures:
            rise = risen(snapshot.samples, partial(_failure_count, duty.name), span_s)
            yield Finding(
                Severity.WARNING if rise.by else Severity.NOTE,
                duty.name,
                f"the director could not do its duty to {duty.name}",
                f"failed {duty.failures} times, last with {duty.last_error}",
                "The log says more: journalctl -u appliance.",
            )


def _failure_count(duty: str, sample: Sample) -> int:
    return sample.failures.get(duty, 0)


def steering(snapshot: Snapshot) -> Iterator[Finding]:
    """What `/healthz` calls problems."""
    assert snapshot.running is not None
    for problem in snapshot.running.problems:
        yield Finding(
            Severity.ERROR,
            "",
            problem,
            "the kernel lists something else than the appliance has loaded",
            "It is put back by itself. When it comes again, something else writes rules or addresses: another firewall "
            "program, a "
            "network manager. The log has the times.",
        )


def missing_addresses(snapshot: Snapshot) -> Iterator[Finding]:
    """On a gateway in reserve that is as it should be."""
    assert snapshot.running is not None
    missing = snapshot.running.missing_addresses
    if missing:
        yield Finding(
            Severity.NOTE,
            ", ".join(missing[:3]) + (", …" if len(missing) > 3 else ""),
            "no interface has some VIPs or local addresses, and manage_addresses is false",
            f"{len(missing)} addresses are missing",
            "On a gateway in reserve this is right. Else have the program add them that is to do so.",
        )


def lane(snapshot: Snapshot) -> Iterator[Finding]:
    """Off can be a wish."""
    assert snapshot.running is not None
    state = snapshot.running.lane
    if state.state != "on":
        is_impaired = state.state == "impaired"
        yield Finding(
            Severity.WARNING if is_impaired else Severity.NOTE,
            "",
            "the lane is not as it should be" if is_impaired else "there is no lane: every packet goes through a worker",
            f"{state.state}: {state.reason}, repaired {state.repairs} times",
            "appliance lane shows more." if is_impaired else "When that is not meant: the reason says what is missing.",
        )


def admissions(snapshot: Snapshot) -> Iterator[Finding]:
    """Rules of the host stand against what the tunable allows."""
    assert snapshot.running is not None
    assert snapshot.setup is not None
    state = snapshot.running.lane
    if state.state == "on" and state.admissions_off and snapshot.setup.tunables.get("prepared_admissions") == IN_AUTO:
        yield Finding(
            Severity.NOTE,
            "",
            "rules of the host keep the kernel from opening connections by itself: each SYN goes through a worker",
            state.admissions_off,
            "When these rules need not see the addresses of clients: have their chain come behind the appliance (a priority "
            "above that of raw, -300), or set the tunable prepared_admissions to 2.",
        )


def queue_drops(snapshot: Snapshot) -> Iterator[Finding]:
    """In front of a worker that is too slow, or away."""
    assert snapshot.samples is not None
    rise = risen(snapshot.samples, counted(*_DROPS))
    if rise.by:
        yield Finding(
            Severity.WARNING,
            "",
            "the kernel drops packets in front of the queues, because workers do not take them fast enough",
            f"{rise} ({', '.join(_DROPS)} of /stats/queues)",
            "More shards when there are CPUs (gateway.shards, then a restart); the lane, when it is off; during a flood, "
            'synproxy = "auto" and the defence.',
        )


def internal_errors(snapshot: Snapshot) -> Iterator[Finding]:
    """Each is a fault in the appliance."""
    assert snapshot.samples is not None
    rise = risen(snapshot.samples, counted(INTERNAL_ERROR.name))
    if rise.by:
        yield Finding(
            Severity.ERROR,
            "",
            "packets are dropped because of an error of the appliance itself",
            f"{rise} ({INTERNAL_ERROR.name})",
            INTERNAL_ERROR.remedy,
        )


CHECKS = (
    Check(
        "not_running",
        away,
        (),
        "An error when `appliance doctor` finds no appliance to ask on this host.",
        "Clients get no answer.",
    ),
    Check(
        "worker_down",
        workers,
        ("running",),
        "An error for each shard whose worker is away, or has made no turn for two seconds.",
        "New connections of that shard wait, and so do packets that the lane does not carry.",
    ),
    Check(
        "worker_restarts",
        restarts,
        ("running", "samples"),
        "A warning for each shard whose worker was started again within the last ten minutes; an error from the third time on.",
        "Sessions that are not in the lane end with their worker.",
    ),
    Check(
        "duty_failed",
        duties,
        ("running", "samples"),
        "A warning for each duty of the director that has failed within the last ten minutes, a note when it was earlier in "
        "this run.",
        "What it looks after (rules, addresses, routes, counters) was not looked after for a moment, or still is not.",
    ),
    Check(
        "steering_wrong",
        steering,
        ("running",),
        "An error for each problem of /healthz.",
        "Packets do not come to the workers.",
    ),
    Check(
        "addresses_missing",
        missing_addresses,
        ("running",),
        "A note while manage_addresses is false and no interface has some VIPs or local addresses.",
        "Without them no packet comes to this gateway.",
    ),
    Check(
        "lane_not_on",
        lane,
        ("running",),
        "A warning while the lane is impaired, a note while it is off.",
        "A worker carries a small part of what the lane can, and sessions outside of the lane end with their worker.",
    ),
    Check(
        "admissions_off",
        admissions,
        ("running", "setup"),
        "A note while prepared_admissions is 1, and rules of the host see SYNs before the appliance.",
        "New connections take more than twice the time of the workers.",
    ),
    Check(
        "queue_drops",
        queue_drops,
        ("samples", "running"),
        "A warning when queue_full_drops or socket_drops have risen within the last minute.",
        "Packets of clients are lost, and sent again.",
    ),
    Check(
        "internal_errors",
        internal_errors,
        ("samples", "running"),
        "An error when internal_error has risen within the last minute.",
        "The packet was lost, and the same will happen to the next one of its kind.",
    ),
)
