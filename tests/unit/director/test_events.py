"""events.py: who comes back gets what he has missed, or hears that it is known no more."""

import asyncio

from appliance.director.events import MOST_KEPT, Events
from appliance.health.changes import StateChange
from appliance.health.check import Target

FIRST = 1_000_000


def some(count: int, began_s: float = FIRST / 1000) -> Events:
    events = Events(lambda: began_s)
    for number in range(count):
        events.add("up", "web", "192.0.2.101:8080", str(number))
    return events


def texts(events: Events, after: int, most: int = 10) -> tuple[list[str], bool]:
    since = events.since(after, most)
    return [event.text for event in since.events], since.are_missing


def test_only_those_behind_a_number_and_only_so_many() -> None:
    events = some(5)
    assert texts(events, FIRST + 2) == (["2", "3", "4"], False)
    assert texts(events, FIRST + 2, most=2) == (["2", "3"], False)
    assert events.since(FIRST + 2, 2).last == FIRST + 4, "there it goes on"
    assert texts(events, FIRST + 5) == ([], False)
    assert events.since(FIRST + 5, 2).last == events.last == FIRST + 5
    assert texts(events, 0) == (["0", "1", "2", "3", "4"], False)
    assert texts(some(0), 0) == ([], False)


def test_the_oldest_are_forgotten_and_that_is_said() -> None:
    events = some(MOST_KEPT + 3)
    assert texts(events, FIRST + 2, most=1) == (["3"], True)
    assert texts(events, FIRST + 3, most=1) == (["3"], False)
    assert texts(events, 0, most=1) == (["3"], True)
    assert len(events.since(0, 10 * MOST_KEPT).events) == MOST_KEPT


def test_a_number_of_another_run_gets_all_of_this_one_and_hears_that_some_are_missing() -> None:
    events = some(2)
    for strange in (FIRST - 5, FIRST + 3, 1 << 62):
        assert texts(events, strange) == (["0", "1"], True)
    assert texts(some(0), FIRST - 5) == ([], True)


def test_numbers_grow_from_run_to_run() -> None:
    assert some(5).last < some(0, FIRST / 1000 + 1).last


def test_a_change_of_state_is_one() -> None:
    events = some(0)
    events.add_state(StateChange(1.0, Target("web", "192.0.2.101", 8080), False, "3 checks failed in a row", "refused"))
    events.add_state(StateChange(1.0, Target("web", "192.0.2.101", 8080), True, "it is not checked any more", ""))
    found = events.since(0, 5).events
    assert [(event.kind, event.service, event.real_server) for event in found] == [
        ("down", "web", "192.0.2.101:8080"),
        ("up", "web", "192.0.2.101:8080"),
    ]
    assert [event.text for event in found] == ["3 checks failed in a row; last answer: refused", "it is not checked any more"]


async def test_all_who_wait_are_woken() -> None:
    events = some(0)
    waiting = [asyncio.ensure_future(events.news()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    events.add("up", "web", "192.0.2.101:8080", "")
    await asyncio.gather(*waiting)
