"""The page of all findings of the doctor: when each is found, and why that is bad."""

from appliance.doctor.finding import Check
from appliance.doctor.registry import CHECKS, FAILED
from tools.reference.markdown import Entry, code, paragraph
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
`appliance doctor` and `GET /doctor` name each finding. An error means that traffic is lost now; a warning that some is lost now
and then, or will be soon; a note is worth knowing. When a fact that a check needs cannot be collected, the report says which one
and why, and names the check.
"""
_RISEN = """\
A counter has risen when it is higher than a minute ago. The running appliance takes a sample every ten seconds and keeps those of
ten minutes; forecasts are made from all of them. Without a running appliance, the command looks twice, five seconds apart.
"""
_FAILED = "A warning when a check failed itself, because of an error of the appliance. All other checks are made."


def entries() -> list[Entry]:
    """All findings: rule and reason."""
    described = [
        entry for check in CHECKS for entry in (Entry(check.name, check.rule), Entry(f"{check.name}, why", check.reason))
    ]
    return [*described, Entry(FAILED, _FAILED)]


def page() -> str:
    """The page."""
    failed = f"## {code(FAILED)}\n\n{paragraph(_FAILED)}"
    return whole_page("Findings of the doctor", paragraph(_INTRODUCTION), paragraph(_RISEN), *map(_section, CHECKS), failed)


def _section(check: Check) -> str:
    parts = [f"## {code(check.name)}", paragraph(check.rule), paragraph(f"**Why.** {check.reason}")]
    if check.needs:
        parts.append(paragraph(f"**Needs.** {', '.join(map(code, check.needs))}."))
    return "\n\n".join(parts)
