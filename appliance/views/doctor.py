"""What the doctor has found, as text and as JSON. Pure.

The text is made from the JSON, so that the command line prints the answer of another machine as it prints its own.
"""

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

from appliance.doctor.examine import Report
from appliance.views.document import Document, plain

COLUMNS = 120
"""Of the text; commands are never broken."""

_INDENT = "    "


def report(found: Report) -> Document:
    """The worst findings come first."""
    data = {
        "severity": found.severity.word,
        "running": found.is_running,
        "watched_s": round(found.watched_s, 1),
        "findings": [finding._asdict() | {"severity": finding.severity.word} for finding in found.findings],
        "left_out": list(found.left_out),
        "unseen": found.unseen,
    }
    return Document(as_text(data), data)


def as_text(data: Mapping[str, Any], columns: int = COLUMNS) -> str:
    """The text of a report that was answered as JSON. Commands are never broken. Raises KeyError or TypeError when it is none."""
    blocks = ["".join(f"{line}\n" for line in map(plain, _finding(finding, columns))) for finding in data["findings"]]
    return "\n".join([*blocks, "".join(f"{line}\n" for line in map(plain, _end(data)))])


def _finding(finding: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The commands stand alone in their lines, so that they can be copied."""
    yield f"{finding['severity']}: {finding['name']}" + (f" ({finding['about']})" if finding["about"] else "")
    for text in (finding["problem"], f"seen: {finding['evidence']}", finding["advice"]):
        yield fill(text, columns, initial_indent=_INDENT, subsequent_indent=_INDENT)
    if finding["commands"]:
        yield f"{_INDENT}to mend it, run on {finding['run_on'] or 'this gateway'}:"
        yield from finding["commands"]


def _end(data: Mapping[str, Any]) -> Iterator[str]:
    """The sum, and what could not be seen."""
    words = [finding["severity"] for finding in data["findings"]]
    counts = ((word, words.count(word)) for word in ("error", "warning", "note"))
    shown = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts if count)
    yield f"{data['severity']}: {shown or 'nothing is wrong'} (counters were watched for {data['watched_s']:.0f} s)"
    for fact, why in data["unseen"].items():
        yield f"not seen: {fact} ({why})"
    if data["left_out"]:
        yield f"not checked for that reason: {', '.join(data['left_out'])}"
