"""Which real servers of a service may get a new session: those that are up, backups, or none. Pure.

The scheduler picks one of them (see `schedulers.contract`).
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

REFUSE, DROP, ALL = "refuse", "drop", "all"
WHEN_NONE_HEALTHY = (REFUSE, DROP, ALL)
"""What becomes of new sessions when no real server is healthy: answered with RST or ICMP, dropped without an answer, or given to
all real servers as if they were up."""

LEAVE, EXPIRE, RESET = "leave", "expire", "reset"
ON_DOWN = (LEAVE, EXPIRE, RESET)
"""What becomes of TCP sessions of a real server that is down: they stay, end at their client's next packet, or end at once."""


class Member(Protocol):
    """A real server of a service, as far as this has to know it."""

    @property
    def weight(self) -> int:
        """0: it gets no new session."""

    @property
    def is_backup(self) -> bool:
        """Whether it is used only while too few others are up."""

    @property
    def is_up(self) -> bool:
        """Whether it counts as healthy."""


MemberT = TypeVar("MemberT", bound=Member)


def is_healthy(members: Sequence[Member], quorum: int) -> bool:
    """Whether so many real servers that are no backups are up, and take new sessions."""
    return sum(member.is_up and not member.is_backup and member.weight > 0 for member in members) >= quorum


def candidates(members: Sequence[MemberT], quorum: int, when_none_healthy: str) -> tuple[MemberT, ...]:
    """The real servers for new sessions, in their order: those that are up; or the backups that are, while fewer than `quorum`
    (1 or more) others are; or what `when_none_healthy` says."""
    primary = tuple(member for member in members if not member.is_backup)
    if is_healthy(primary, quorum):
        return tuple(member for member in primary if member.is_up)
    backups = tuple(member for member in members if member.is_backup and member.is_up and member.weight > 0)
    if backups or when_none_healthy != ALL:
        return backups
    return primary
