"""How the real server of a session was chosen, as one small number that a session keeps and the views show as words. Pure."""

from collections.abc import Sequence

from appliance.policy.candidates import Member, is_healthy
from appliance.policy.schedulers.registry import SCHEDULERS

UNKNOWN = 0
"""A session that an earlier worker has opened: how its real server was chosen ended with that worker."""

_WAYS = ("", *SCHEDULERS, "persistence")
_CIRCUMSTANCES = ("", ", backup", ", fail open")
_USUAL, _BACKUP, _FAIL_OPEN = range(len(_CIRCUMSTANCES))

_PERSISTENCE = _WAYS.index("persistence")


def circumstance(members: Sequence[Member], chosen: Sequence[Member], quorum: int) -> int:
    """Why just these may be chosen: because they are healthy; as backups; or all of them, although too few are healthy."""
    if any(member.is_backup for member in chosen):
        return _BACKUP
    return _USUAL if is_healthy(members, quorum) else _FAIL_OPEN


def by_scheduler(name: str, circumstance: int) -> int:
    """The number of a choice by a scheduler. Raises ValueError for one that does not exist."""
    return _WAYS.index(name) * len(_CIRCUMSTANCES) + circumstance


def by_persistence(circumstance: int) -> int:
    """The number of a choice by persistence: the client had been there before."""
    return _PERSISTENCE * len(_CIRCUMSTANCES) + circumstance


def words(choice: int) -> str:
    """The choice in words: the name of a scheduler or ``persistence``, and ``, backup`` or ``, fail open`` behind it; empty when
    it is not known."""
    way, circumstance = divmod(choice, len(_CIRCUMSTANCES))
    return _WAYS[way] + _CIRCUMSTANCES[circumstance] if way else ""


ALL_WORDS = tuple(words(choice) for choice in range(len(_CIRCUMSTANCES), len(_WAYS) * len(_CIRCUMSTANCES)))
"""All that `words` can say of a known choice."""
