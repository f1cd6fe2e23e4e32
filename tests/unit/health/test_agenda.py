"""agenda.py: everybody is due at his last moment, once, in order."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from appliance.health.agenda import Agenda


def test_they_are_due_in_the_order_of_their_moments() -> None:
    agenda = Agenda[str]()
    for key, moment in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        agenda.put(key, moment)
    assert agenda.next_moment() == 1.0
    assert agenda.take_due(2.5, 9) == ["a", "b"]
    assert agenda.take_due(2.5, 9) == []
    assert agenda.next_moment() == 3.0


def test_no_more_are_taken_than_there_is_room_for() -> None:
    agenda = Agenda[int]()
    for key in range(5):
        agenda.put(key, float(key))
    assert agenda.take_due(9.0, 2) == [0, 1]
    assert agenda.take_due(9.0, 0) == []
    assert agenda.take_due(9.0, 9) == [2, 3, 4]
    assert agenda.next_moment() == inf


def test_a_key_can_be_hastened_and_not_delayed_by_that() -> None:
    agenda = Agenda[str]()
    agenda.put("a", 5.0)
    agenda.hasten("a", 1.0)
    agenda.hasten("a", 3.0)
    agenda.hasten("who", 0.0)
    assert agenda.next_moment() == 1.0
    assert agenda.take_due(9.0, 9) == ["a"]


def test_one_that_was_dropped_is_never_due() -> None:
    agenda = Agenda[str]()
    agenda.put("a", 1.0)
    agenda.drop("a")
    agenda.drop("a")
    assert agenda.next_moment() == inf
    assert "a" not in agenda


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=300))
def test_only_the_last_moment_of_a_key_counts(puts: list[tuple[int, int]]) -> None:
    agenda, last = Agenda[int](), dict[int, int]()
    for key, moment in puts:
        agenda.put(key, float(moment))
        last[key] = moment
    assert len(agenda) == len(last)
    assert len(agenda._heap) <= 2 * len(last) + 64, "what is outdated is thrown away"
    due = agenda.take_due(100.0, 1000)
    assert sorted(due) == sorted(last)
    assert [last[key] for key in due] == sorted(last.values())
