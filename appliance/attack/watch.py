"""Sees attacks begin and end: it is told all counters at every look, a few seconds apart."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from appliance.attack.kinds import KINDS, Kind

LOOKS_TO_BEGIN = 2
"""An attack begins at the second look in a row that finds its rate. One burst is no attack."""

QUIET_TO_END_S = 10.0
"""It is over when nothing of it was seen for so long: a flood that comes in pulses is one attack."""

MOST_ENDED = 32
"""How many attacks that are over are remembered."""

_SMOOTHING = 0.1
"""The weight of one look in the rate of new sessions before an attack: that of about the last ten looks."""


class Clients(NamedTuple):
    """What clients got: totals of the run."""

    sessions: int
    """Sessions that were opened."""
    proofs: int
    """Cookies that came back: connections of clients behind SYNPROXY that exist."""


class Look(NamedTuple):
    """The counters at one moment."""

    at_s: float
    """Of the monotonic clock."""
    wall_s: float
    """Seconds since 1970."""
    counts: Mapping[str, int]
    """By rule: totals of the run. One that cannot be read may be missing: it counts nothing meanwhile."""
    clients: Clients


class Attack:
    """One attack: it is under way as long as `ended_wall_s` is None."""

    def __init__(self, kind: Kind, begin: Look, sessions_per_s_before: float) -> None:
        """`begin` is the last look before it."""
        self.kind = kind
        self.began_wall_s = begin.wall_s
        self.sessions_per_s_before = sessions_per_s_before
        """New sessions per second before it began."""
        self.rules: Counter[str] = Counter()
        """What was dropped, by rule, since it began."""
        self.rate_per_s = 0.0
        """At the last look."""
        self.peak_per_s = 0.0
        self.sessions = self.proofs = 0
        """What clients got up to the last look at which it was seen, see Clients."""
        self.lasted_s = 0.0
        """Up to now, or up to its end."""
        self.ended_wall_s: float | None = None
        self._began_s = self.seen_s = begin.at_s
        self._sessions_since = self._proofs_since = 0

    @property
    def dropped(self) -> int:
        """All that was dropped as part of it."""
        return self.rules.total()

    @property
    def sessions_per_s(self) -> float:
        """New sessions per second while it lasted, up to the last look at which it was seen."""
        seen_for_s = self.seen_s - self._began_s
        return self.sessions / seen_for_s if seen_for_s else 0.0

    def add(self, step: "_Step") -> None:
        """Count what has happened between two looks."""
        drops = step.drops(self.kind)
        self.rules.update(drops)
        self.rate_per_s = sum(drops.values()) / step.within_s
        self.peak_per_s = max(self.peak_per_s, self.rate_per_s)
        self._sessions_since += step.sessions
        self._proofs_since += step.proofs
        self.lasted_s = step.after.at_s - self._began_s
        if self.rate_per_s >= self.kind.ends_per_s:
            self.seen_s = step.after.at_s
            self.sessions, self.proofs = self._sessions_since, self._proofs_since

    def is_over(self, now_s: float) -> bool:
        """Whether nothing of it was seen for QUIET_TO_END_S."""
        return now_s - self.seen_s >= QUIET_TO_END_S


class _Step(NamedTuple):
    """What has happened between two looks."""

    before: Look
    after: Look

    @property
    def within_s(self) -> float:
        return self.after.at_s - self.before.at_s

    def drops(self, kind: Kind) -> dict[str, int]:
        """By rule. A counter that went down was reset, and has counted nothing that is known."""
        before, after = self.before.counts, self.after.counts
        grown = {rule: after[rule] - before[rule] for rule in kind.rules if rule in before and rule in after}
        return {rule: more for rule, more in grown.items() if more > 0}

    @property
    def sessions(self) -> int:
        return max(0, self.after.clients.sessions - self.before.clients.sessions)

    @property
    def proofs(self) -> int:
        return max(0, self.after.clients.proofs - self.before.clients.proofs)


class AttackWatch:
    """All attacks of a run."""

    def __init__(self) -> None:
        self.under_way: dict[str, Attack] = {}
        """By the name of the kind; in the order in which they began."""
        self.ended: deque[Attack] = deque(maxlen=MOST_ENDED)
        """The latest ones, in the order in which they ended."""
        self.begun: Counter[str] = Counter()
        """How many there were, by kind."""
        self._last: Look | None = None
        self._rising: dict[str, list[_Step]] = {}
        """By kind: the steps that were attacks, before one counts as begun."""
        self._sessions_per_s: float | None = None

    def look(self, look: Look) -> list[Attack]:
        """Take the counters of this moment; the attacks that have begun or are over since the last look."""
        before, self._last = self._last, look
        if before is None or look.at_s <= before.at_s:
            return []
        step = _Step(before, look)
        changed = [*self._go_on(step), *self._begin(step)]
        if not self.under_way and not self._rising:
            rate = step.sessions / step.within_s
            known = self._sessions_per_s
            self._sessions_per_s = rate if known is None else known + _SMOOTHING * (rate - known)
        return changed

    def _go_on(self, step: _Step) -> Iterator[Attack]:
        for name, attack in list(self.under_way.items()):
            attack.add(step)
            if attack.is_over(step.after.at_s):
                quiet_s = step.after.at_s - attack.seen_s
                attack.ended_wall_s, attack.rate_per_s = step.after.wall_s - quiet_s, 0.0
                attack.lasted_s -= quiet_s
                del self.under_way[name]
                self.ended.append(attack)
                yield attack

    def _begin(self, step: _Step) -> Iterator[Attack]:
        for kind in KINDS:
            if kind.name in self.under_way:
                continue
            if sum(step.drops(kind).values()) < kind.begins_per_s * step.within_s:
                self._rising.pop(kind.name, None)
                continue
            steps = self._rising.setdefault(kind.name, [])
            steps.append(step)
            if len(steps) >= LOOKS_TO_BEGIN:
                yield self._begun(kind, self._rising.pop(kind.name))

    def _begun(self, kind: Kind, steps: list[_Step]) -> Attack:
        attack = self.under_way[kind.name] = Attack(kind, steps[0].before, self._sessions_per_s or 0.0)
        self.begun[kind.name] += 1
        for step in steps:
            attack.add(step)
        return attack
