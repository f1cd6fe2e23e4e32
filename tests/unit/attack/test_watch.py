"""attack/watch.py: when an attack begins, what it is made of, when it is over."""

from collections.abc import Iterable

import pytest

from appliance.attack.kinds import KINDS
from appliance.attack.watch import MOST_ENDED, Attack, AttackWatch, Clients, Look

STEP_S = 2.0
(STRAYS,) = (kind for kind in KINDS if kind.name == "stray_flood")


class Story:
    """A watch, and counters that grow from look to look."""

    def __init__(self) -> None:
        self.watch = AttackWatch()
        self.now_s = 100.0
        self.counts = dict.fromkeys((rule for kind in KINDS for rule in kind.rules), 0)
        self.sessions = self.proofs = 0
        self.look()

    def look(self) -> list[tuple[str, bool]]:
        """The kinds that changed, and whether each is over."""
        look = Look(self.now_s, 1e9 + self.now_s, dict(self.counts), Clients(self.sessions, self.proofs))
        return [(attack.kind.name, attack.ended_wall_s is not None) for attack in self.watch.look(look)]

    def step(self, sessions: int = 0, **per_s: float) -> list[tuple[str, bool]]:
        """Two seconds in which rules drop so much a second, and so many sessions are opened a second."""
        self.now_s += STEP_S
        for rule, rate in per_s.items():
            self.counts[rule] += int(rate * STEP_S)
        self.sessions += int(sessions * STEP_S)
        return self.look()

    def steps(self, number: int, sessions: int = 0, **per_s: float) -> list[tuple[str, bool]]:
        return [change for _ in range(number) for change in self.step(sessions, **per_s)]

    @property
    def only(self) -> Attack:
        """The one attack that is under way."""
        (attack,) = self.watch.under_way.values()
        return attack


def test_an_attack_from_its_begin_to_its_end() -> None:
    story = Story()
    assert story.steps(30, sessions=50) == []
    assert story.step(no_session=1500, sessions=20) == []
    assert story.step(no_session=500, strangers_tcp=2500, sessions=20) == [("stray_flood", False)]
    attack = story.only
    assert (attack.rules, attack.dropped) == ({"no_session": 4000, "strangers_tcp": 5000}, 9000)
    assert (attack.rate_per_s, attack.peak_per_s, attack.lasted_s) == (3000, 3000, 4)
    assert attack.began_wall_s == 1e9 + 100 + 30 * STEP_S
    assert (attack.sessions, attack.sessions_per_s) == (80, 20)
    assert attack.sessions_per_s_before == pytest.approx(50, abs=0.1)
    assert story.steps(4, sessions=50) == []
    assert story.step(sessions=50) == [("stray_flood", True)]
    assert (list(story.watch.ended), story.watch.under_way) == ([attack], {})
    assert attack.ended_wall_s == 1e9 + 100 + 32 * STEP_S
    assert (attack.lasted_s, attack.rate_per_s, attack.peak_per_s, attack.sessions_per_s) == (4, 0, 3000, 20)
    assert story.watch.begun == {"stray_flood": 1}


@pytest.mark.parametrize(
    "rates",
    [
        (999.0, 999.0, 999.0, 999.0),
        (5000.0, 0.0, 5000.0, 0.0),
    ],
)
def test_what_is_no_attack(rates: Iterable[float]) -> None:
    story = Story()
    assert [change for rate in rates for change in story.step(no_session=rate)] == []
    assert not story.watch.under_way


def test_a_flood_in_pulses_is_one_attack() -> None:
    story = Story()
    story.steps(2, no_session=2000)
    for _ in range(5):
        assert story.steps(4) == []
        assert story.step(no_session=2000) == []
    assert (story.only.dropped, story.watch.begun.total()) == (7 * 4000, 1)


def test_a_rate_between_begin_and_end_goes_on_and_does_not_begin() -> None:
    between = (STRAYS.begins_per_s + STRAYS.ends_per_s) / 2
    story = Story()
    assert story.steps(10, no_session=between) == []
    story.steps(2, no_session=STRAYS.begins_per_s)
    assert story.steps(10, no_session=between) == []
    assert story.steps(5, no_session=STRAYS.ends_per_s - 1) == [("stray_flood", True)]


def test_kinds_are_attacks_of_their_own() -> None:
    story = Story()
    assert story.steps(2, source_limit=100, fragments=1000) == [("fragment_flood", False), ("connection_flood", False)]
    assert story.steps(5, source_limit=100) == [("fragment_flood", True)]
    assert list(story.watch.under_way) == ["connection_flood"]


def test_counters_that_are_reset_or_cannot_be_read_count_nothing() -> None:
    story = Story()
    story.steps(2, no_session=2000)
    story.counts["no_session"] = 5
    story.step()
    del story.counts["strangers_tcp"]
    story.step(no_session=1000)
    assert story.only.rules == {"no_session": 8000 + 2000}
    story.counts["strangers_tcp"] = 10**9
    story.step()
    assert story.only.rules == {"no_session": 8000 + 2000}, "its growth since the last look is not known"


def test_sessions_before_are_not_those_of_the_attack() -> None:
    story = Story()
    story.steps(50, sessions=10)
    story.steps(20, sessions=1000, no_session=2000)
    assert story.only.sessions_per_s_before == pytest.approx(10, abs=0.1)


def test_what_is_remembered_is_bounded() -> None:
    story = Story()
    for _ in range(MOST_ENDED + 8):
        story.steps(2, no_session=2000)
        story.steps(5)
    assert len(story.watch.ended) == MOST_ENDED
    assert story.watch.begun["stray_flood"] == MOST_ENDED + 8


def test_a_second_look_at_the_same_moment_tells_nothing() -> None:
    story = Story()
    story.counts["no_session"] = 10**6
    assert story.look() == []
    assert story.step() == []
    assert not story.watch.under_way
