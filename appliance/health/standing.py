"""The state of one real server: up or down, and what it takes to change that.

A real server is up until checks say otherwise. `fall` failures in a row make it down, `rise` successes in a row make it up again,
and one answer of the other kind begins the count anew: nothing is ever added up over time. So one lost check an hour changes
nothing, and a real server that answers again is always taken back.

A check that could not be made says nothing: it neither counts nor begins a count anew.
"""

from appliance.health.answer import Answer, Outcome
from appliance.health.check import Check

JITTER = 0.1
"""The part of an interval by which a check may come earlier. It never comes later, so that `fall` intervals are a promise."""


class Standing:
    """What is known of one real server. `is_up` is its state."""

    __slots__ = ("contrary", "is_checked", "is_up", "last", "since", "tried_again_at")

    def __init__(self, now: float, *, is_up: bool = True) -> None:
        """`is_up` is its state at the beginning: that of the run before, or up."""
        self.is_up = is_up
        self.is_checked = False
        """Whether a check has passed or failed."""
        self.contrary = 0
        """Answers in a row that speak against its state."""
        self.since = now
        """When it took its state."""
        self.last: Answer | None = None
        self.tried_again_at: float | None = None
        """When a real server that traffic has found dead, and that no check asks, is up again; None while that is not so."""

    def take(self, answer: Answer, check: Check, now: float) -> bool:
        """Take an answer in; True when the state changes by it."""
        self.last = answer
        if answer.outcome is Outcome.UNDECIDED:
            return False
        self.is_checked = True
        is_good = answer.outcome is Outcome.PASSED
        if is_good == self.is_up:
            self.contrary = 0
            return False
        self.contrary += 1
        if self.contrary < (check.rise if is_good else check.fall):
            return False
        self._turn(is_good, now)
        return True

    def condemn(self, answer: Answer, now: float, until: float) -> bool:
        """Make it down because of what its traffic shows, until a moment; True when it was up."""
        self.last = answer
        if not self.is_up:
            return False
        self._turn(False, now)
        self.tried_again_at = until
        return True

    def try_again(self, now: float) -> bool:
        """Make it up again when the time of `condemn` is over; True when the state changes by it."""
        if self.is_up or self.tried_again_at is None or now < self.tried_again_at:
            return False
        self._turn(True, now)
        return True

    def _turn(self, is_up: bool, now: float) -> None:
        self.is_up, self.contrary, self.since, self.tried_again_at = is_up, 0, now, None

    def is_changing(self) -> bool:
        """Whether the next answers may change the state, so that they are worth having sooner."""
        return bool(self.contrary) or not self.is_checked

    def wait_s(self, check: Check, chance: float) -> float:
        """Seconds from the beginning of one check to that of the next; `chance` is 0..1."""
        interval_s = check.fast_interval_s if self.is_changing() else check.interval_s
        return interval_s * (1 - JITTER * chance)


def first_wait_s(check: Check, chance: float) -> float:
    """Seconds until the first check; `chance`, 0..1, spreads the first checks of many over an interval."""
    return check.interval_s * chance
