"""counters.py: the contract, and summaries that are understood without each other."""

import re

import pytest

from appliance.model.counters import (
    EXT_ALIASES,
    EXT_COUNTERS,
    FULLNAT_REUSED,
    FULLNAT_REUSED_FROM,
    QUEUE_COUNTERS,
    SYNPROXY_REUSED,
    SYNPROXY_REUSED_FROM,
    VERDICT_COUNTERS,
    Counter,
)

ALL = (*EXT_COUNTERS, *QUEUE_COUNTERS, *VERDICT_COUNTERS)


def test_the_extended_table_has_27_counters_by_contract() -> None:
    assert len(EXT_COUNTERS) == len({counter.name for counter in EXT_COUNTERS}) == 27


@pytest.mark.parametrize("counter", ALL, ids=lambda counter: counter.name)
def test_a_summary_is_understood_without_the_others(counter: Counter) -> None:
    assert len(counter.summary.split()) > 2
    assert not re.search(r"^(of these|in all)|\b(without|with) it\b|\.$", counter.summary)
    assert [other.name for other in ALL if other.summary == counter.summary] == [counter.name]


def test_the_names_of_lvs_lead_to_counters_of_the_table_and_hide_none() -> None:
    names = {counter.name for counter in EXT_COUNTERS}
    assert set(EXT_ALIASES.values()) <= names
    assert names.isdisjoint(EXT_ALIASES)


@pytest.mark.parametrize(("total", "by_state"), [(FULLNAT_REUSED, FULLNAT_REUSED_FROM), (SYNPROXY_REUSED, SYNPROXY_REUSED_FROM)])
def test_reuse_is_counted_where_its_summary_names_the_state(total: int, by_state: dict[str, int]) -> None:
    assert EXT_COUNTERS[total].name.endswith("_conn_reused")
    for state, place in by_state.items():
        assert EXT_COUNTERS[place].name.startswith(f"{EXT_COUNTERS[total].name}_")
        assert f"in state {state} " in EXT_COUNTERS[place].summary
