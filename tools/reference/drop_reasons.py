"""The page of all verdicts: the reasons of dropped packets, with their cause and what to do about them."""

from collections.abc import Iterable

from appliance.model.verdict import Action, Verdict
from appliance.model.verdicts import VERDICTS
from tools.reference.markdown import Entry, code, paragraph, sentence
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
`GET /stats/drops` counts, in every shard, the packets that were not rewritten and sent on, by reason. Each packet that comes to
a shard gets exactly one verdict. What the rules of the defence drop before it comes to a shard is counted elsewhere: see
[extended counters](counters.md).
"""
_ACCEPTED = "Packets with such a verdict go on as they came; the host itself deals with them."
_REWRITTEN = """\
These are verdicts too, but nothing is lost: the packet goes on with other bytes. `/stats/drops` does not show them.
"""


def entries() -> list[Entry]:
    """All verdicts three times over: each with its summary, its cause and its remedy."""
    texts = ("summary", "cause", "remedy")
    return [Entry(f"{verdict.name}, {text}", getattr(verdict, text)) for verdict in VERDICTS for text in texts]


def page() -> str:
    """The page."""
    return whole_page(
        "Drop reasons",
        paragraph(_INTRODUCTION),
        *("## Dropped", *_sections(Action.DROP)),
        *("## Not touched", paragraph(_ACCEPTED), *_sections(Action.ACCEPT)),
        *("## Rewritten", paragraph(_REWRITTEN), *_sections(Action.REWRITTEN)),
    )


def _sections(action: Action) -> Iterable[str]:
    return (_section(verdict) for verdict in VERDICTS if verdict.action is action)


def _section(verdict: Verdict) -> str:
    cause, remedy = paragraph(f"**Cause.** {verdict.cause}"), paragraph(f"**What to do.** {verdict.remedy}")
    return "\n\n".join((f"### {code(verdict.name)}", paragraph(sentence(verdict.summary)), cause, remedy))
