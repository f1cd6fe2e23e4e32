"""An examination: every check is made, and none of them can end it. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.registry import CHECKS, FAILED

_MOST_FINDINGS = 20
"""Of one check: a gateway with a thousand dead real servers has one fault, and not a thousand."""


class Report(NamedTuple):
    """What the doctor says."""

    severity: Severity
    """The worst one."""
    findings: tuple[Finding, ...]
    """The worst first."""
    left_out: tuple[str, ...]
    """The names of checks that could not be made, because a fact was missing."""
    unseen: dict[str, str]
    """The facts that were missing, and why."""
    is_running: bool
    """Whether a running appliance was asked."""
    watched_s: float
    """For how many seconds counters were watched."""


def examine(snapshot: Snapshot, checks: Iterable[Check] = CHECKS) -> Report:
    """The report on a snapshot. A check that raises anything becomes a finding that says so."""
    findings, left_out = list[Finding](), list[str]()
    for check in checks:
        if any(getattr(snapshot, fact) is None for fact in check.needs):
            left_out.append(check.name)
        else:
            findings += _found(check, snapshot)
    findings.sort(key=lambda finding: -finding.severity)
    samples = snapshot.samples
    watched_s = samples[-1].at_s - samples[0].at_s if samples else 0.0
    worst = max((finding.severity for finding in findings), default=Severity.OK)
    running = snapshot.running is not None
    return Report(worst, tuple(findings), tuple(left_out), dict(snapshot.unseen), running, watched_s)


def _found(check: Check, snapshot: Snapshot) -> Iterator[Finding]:
    try:
        found = list(check.find(snapshot))
    except Exception as error:  # the other checks still have something to say
        yield Finding(
            Severity.WARNING,
            check.name,
            f"the check {check.name} failed because of an error of ours",
            f"{type(error).__name__}: {error}",
            "Please report this.",
            name=FAILED,
        )
        return
    yield from (finding._replace(name=check.name) for finding in found[:_MOST_FINDINGS])
    if len(found) > _MOST_FINDINGS:
        rest = found[_MOST_FINDINGS:]
        worst = max(finding.severity for finding in rest)
        yield Finding(
            worst, "", "there are more findings of this kind", f"{len(rest)} more", "Mend those above first.", name=check.name
        )
