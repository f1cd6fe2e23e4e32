"""What a verdict is: an action for the kernel, with one reason."""

from enum import Enum


class Action(Enum):
    """What the kernel is told to do with a packet."""

    ACCEPT = "accept"
    """Let it go on as it is."""
    REWRITTEN = "rewritten"
    """Let it go on with the bytes that the shard wrote."""
    DROP = "drop"
    """Forget it. The shard may have kept a copy, or may have answered it with a packet of its own."""


class Verdict:
    """One action with one reason. `index` is its place in the counters of each shard."""

    __slots__ = ("action", "cause", "index", "name", "remedy", "summary")

    def __init__(self, action: Action, name: str, summary: str, *, cause: str, remedy: str) -> None:
        """`summary` is a phrase of the log and the API; `cause` and `remedy` are whole sentences for operators: what makes such
        packets appear, and what to do about them.
        """
        self.action = action
        self.name = name
        self.summary = summary
        self.cause = cause
        self.remedy = remedy
        self.index = len(ALL)
        ALL.append(self)

    def __repr__(self) -> str:
        return f"<{self.action.value} {self.name}>"


ALL: list[Verdict] = []
"""Every verdict that was made, by index. `verdicts` makes all of them."""
