"""What one check has found out."""

from enum import Enum
from typing import NamedTuple

LONGEST_WORDS = 200


class Outcome(Enum):
    """What an answer says of the real server."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    """The gateway could not ask: no descriptor, no address, no program. That says nothing of the real server."""


class Answer(NamedTuple):
    """The answer to one check. A real server, or whoever answers in its name, chooses a part of the words."""

    outcome: Outcome
    words: str
    """One line of printable characters."""


def answer(outcome: Outcome, words: str) -> Answer:
    """An answer in words that can stand in a log: one line, not too long, nothing that a terminal would obey."""
    shown = "".join(character if character.isprintable() else "?" for character in words[: LONGEST_WORDS + 1])
    return Answer(outcome, shown if len(shown) <= LONGEST_WORDS else f"{shown[: LONGEST_WORDS - 1]}…")


def passed(words: str) -> Answer:
    """The real server has answered as it should."""
    return answer(Outcome.PASSED, words)


def failed(words: str) -> Answer:
    """The real server has not answered, or not as it should."""
    return answer(Outcome.FAILED, words)


def undecided(words: str) -> Answer:
    """The check could not be made."""
    return answer(Outcome.UNDECIDED, words)
