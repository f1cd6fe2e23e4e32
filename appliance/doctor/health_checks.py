"""Checks of what the health checks say: real servers that are down, and such that come and go."""

from collections import Counter
from collections.abc import Iterator

from appliance.doctor.facts import Snapshot, StateChange
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import duration

FLAPPING_CHANGES = 4
"""Down, up, down and up again is no accident."""

WATCHED_S = 600.0


def down(snapshot: Snapshot) -> Iterator[Finding]:
    """One finding for each service."""
    assert snapshot.running is not None
    assert snapshot.setup is not None
    for service in snapshot.setup.services:
        in_use = [f"{server.address}:{server.port}" for server in service.real_servers if server.weight]
        gone = [endpoint for endpoint in in_use if (service.name, endpoint) in snapshot.running.down]
        if gone:
            yield Finding(
                Severity.ERROR if len(gone) == len(in_use) else Severity.WARNING,
                service.name,
                f"real servers of {service.name} are down and get no new sessions" + (", all of them" if gone == in_use else ""),
                f"{len(gone)} of {len(in_use)}, for instance {gone[0]}{_reason(snapshot.running.changes, service.name, gone[0])}",
                "Look at their health check and their service: appliance health. They come back by themselves.",
            )


def _reason(changes: tuple[StateChange, ...], service: str, endpoint: str) -> str:
    """Why the last change of a real server happened, as the end of a sentence."""
    return next((f": {one.reason}" for one in reversed(changes) if (one.service, one.endpoint) == (service, endpoint)), "")


def flapping(snapshot: Snapshot) -> Iterator[Finding]:
    """One finding for each real server of a service."""
    assert snapshot.running is not None
    assert snapshot.samples is not None
    now = snapshot.newest.wall_s
    recent = [change for change in snapshot.running.changes if now - change.at_s <= WATCHED_S]
    for (service, endpoint), count in Counter((change.service, change.endpoint) for change in recent).items():
        if count >= FLAPPING_CHANGES:
            yield Finding(
                Severity.WARNING,
                endpoint,
                f"real server {endpoint} of {service} goes down and comes back again and again",
                f"{count} changes of its state in {duration(WATCHED_S)}, the last one{_reason(tuple(recent), service, endpoint)}",
                "It is overloaded, or its check is too strict: a longer timeout, a larger fall. Until then its sessions wander.",
            )


def late(snapshot: Snapshot) -> Iterator[Finding]:
    """There are more checks than can be made."""
    assert snapshot.running is not None
    for note in snapshot.running.health_notes:
        yield Finding(
            Severity.WARNING,
            "",
            "health checks are late, so real servers are found to be down later than their checks promise",
            note,
            "Choose a longer interval_s, or check fewer real servers; appliance check says how many a second there are. When "
            "these are few, the CPU has no time for them.",
        )


CHECKS = (
    Check(
        "real_servers_down",
        down,
        ("running", "setup"),
        "A warning for each service of which health checks hold a real server with a weight above 0 for down; an error when "
        "it is all "
        "of them.",
        "The others carry its part, and nobody does when all are down.",
    ),
    Check(
        "real_server_flapping",
        flapping,
        ("running", "samples"),
        f"A warning for each real server whose state has changed {FLAPPING_CHANGES} times or more in {duration(WATCHED_S)}.",
        "Each change moves the sessions of clients, and hides what is wrong with the server.",
    ),
    Check(
        "health_checks_late",
        late,
        ("running",),
        "A warning when health checks begin two seconds late or more.",
        "The director begins two thousand of them a second at most, so that it has time for everything else.",
    ),
)
