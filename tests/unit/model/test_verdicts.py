"""verdicts.py: every reason says what causes it and what to do about it, in names that exist."""

import re

import pytest

from appliance.config.tables import Service
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Action, Verdict
from appliance.model.verdicts import OVERFLOWS, REFUSALS, VERDICTS

NAMES = {*TUNABLES, *Service.model_fields, *(counter.name for counter in (*EXT_COUNTERS, *QUEUE_COUNTERS))}
"""Those that an operator can look up, of all that are written with an underscore."""


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: verdict.name)
def test_a_verdict_has_a_phrase_a_cause_and_a_remedy(verdict: Verdict) -> None:
    assert re.fullmatch(r"[^\n]+[^.\n]", verdict.summary)
    for text in (verdict.cause, verdict.remedy):
        assert re.fullmatch(r"[A-Z][^\n]+\.", text), "whole sentences"
        assert "  " not in text
        assert set(re.findall(r"\b[a-z]+_[a-z_]+\b", text)) <= NAMES, "every name can be looked up"


def test_a_verdict_is_found_at_its_index_and_by_its_name() -> None:
    assert [verdict.index for verdict in VERDICTS] == list(range(len(VERDICTS)))
    assert len({verdict.name for verdict in VERDICTS}) == len(VERDICTS)


def test_refusals_are_drops_and_say_so() -> None:
    assert set(OVERFLOWS) <= set(REFUSALS)
    assert all(verdict.action is Action.DROP and verdict.summary.startswith("refused: ") for verdict in REFUSALS)
