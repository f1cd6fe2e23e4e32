"""changes.py: the line of a change, and how many are kept."""

from appliance.health.changes import MOST_KEPT, RecentChanges, StateChange
from appliance.health.check import Target

TARGET = Target("web", "192.0.2.101", 8080)


def test_a_line_says_who_what_why_and_what_was_answered() -> None:
    change = StateChange(0.0, TARGET, False, "3 tcp checks failed in a row", "no answer within 1 s")
    assert change.line == (
        "service web: real server 192.0.2.101:8080 is down: 3 tcp checks failed in a row; last answer: no answer within 1 s"
    )
    up = StateChange(0.0, TARGET, True, "it is not checked any more", "")
    assert up.line == "service web: real server 192.0.2.101:8080 is up: it is not checked any more"


def test_the_latest_are_kept_and_all_are_counted() -> None:
    recent = RecentChanges()
    for number in range(MOST_KEPT + 3):
        recent.add(StateChange(float(number), TARGET, bool(number % 2), "", ""))
    assert [change.at_s for change in recent] == [float(number) for number in range(3, MOST_KEPT + 3)]
    assert recent.total == MOST_KEPT + 3
