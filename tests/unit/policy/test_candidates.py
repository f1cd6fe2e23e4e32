"""candidates.py: who may get a new session."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.candidates import ALL, DROP, REFUSE, WHEN_NONE_HEALTHY, candidates, is_healthy


class Member(NamedTuple):
    name: str
    is_up: bool = True
    weight: int = 1
    is_backup: bool = False


def chosen(*members: Member, quorum: int = 1, when_none_healthy: str = REFUSE) -> str:
    return "".join(member.name for member in candidates(members, quorum, when_none_healthy))


A, B, C = Member("a"), Member("b"), Member("c")
DOWN_A, DOWN_B = A._replace(is_up=False), B._replace(is_up=False)
S, T = Member("s", is_backup=True), Member("t", is_backup=True)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ((A, B), "ab"),
        ((DOWN_A, B), "b"),
        ((A, DOWN_B, S), "a"),
        ((DOWN_A, DOWN_B, S, T), "st"),
        ((DOWN_A, DOWN_B, S._replace(is_up=False), T), "t"),
        ((DOWN_A, DOWN_B, S._replace(weight=0)), ""),
        ((DOWN_A, DOWN_B), ""),
        ((A._replace(weight=0), B), "ab"),
        ((A._replace(weight=0), DOWN_B, S), "s"),
        ((), ""),
        ((S,), "s"),
    ],
)
def test_those_that_are_up_or_backups(members: tuple[Member, ...], expected: str) -> None:
    assert chosen(*members) == expected


@pytest.mark.parametrize(("up", "expected"), [(3, "abc"), (2, "ab"), (1, "s"), (0, "s")])
def test_below_the_quorum_none_of_them_counts(up: int, expected: str) -> None:
    members = [member._replace(is_up=place < up) for place, member in enumerate((A, B, C))]
    assert chosen(*members, S, quorum=2) == expected
    assert is_healthy([*members, S], 2) == (up >= 2)


def test_backups_and_drained_ones_do_not_make_a_quorum() -> None:
    assert not is_healthy([A, S, T], 2)
    assert not is_healthy([A, B._replace(weight=0)], 2)


@pytest.mark.parametrize(("when", "expected"), [(REFUSE, ""), (DROP, ""), (ALL, "ab")])
def test_when_none_is_healthy(when: str, expected: str) -> None:
    assert chosen(DOWN_A, DOWN_B, when_none_healthy=when) == expected
    assert chosen(DOWN_A, DOWN_B, S, when_none_healthy=when) == "s", "a backup comes first"
    assert chosen(DOWN_A, DOWN_B, S._replace(is_up=False), when_none_healthy=when) == expected, "a dead backup is no help"


MEMBERS = st.lists(st.builds(Member, st.sampled_from("abcd"), st.booleans(), st.integers(0, 2), st.booleans()), max_size=6)


@given(MEMBERS, st.integers(1, 4), st.sampled_from(WHEN_NONE_HEALTHY))
def test_one_that_is_down_is_chosen_only_when_all_are(members: list[Member], quorum: int, when: str) -> None:
    found = candidates(members, quorum, when)
    if any(not member.is_up for member in found):
        assert when == ALL
        assert not is_healthy(members, quorum)
        assert list(found) == [member for member in members if not member.is_backup]
    assert len({member.is_backup for member in found}) <= 1, "never backups beside others"


@given(MEMBERS, st.sampled_from(WHEN_NONE_HEALTHY))
def test_without_checks_and_backups_everybody_is_chosen(members: list[Member], when: str) -> None:
    plain = [member._replace(is_up=True, is_backup=False) for member in members]
    found = list(candidates(plain, 1, when))
    assert found == plain or not any(member.weight for member in plain)
