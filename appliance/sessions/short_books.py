"""Who has which endpoint of a shard's short-lived sessions (`sessions.short_lived`), moved for many at once.

Thousands are opened and closed in a second. So each move of many costs a few passes of the interpreter's own loops; only where
something unusual is among them, one is looked at after the other.
"""

from collections import Counter

from appliance.sessions.ring import Ticket
from appliance.sessions.short_figures import ShortFigures
from appliance.sessions.spares import Spares


class ShortBooks:
    """Those of one shard, by entry: the young sessions, and those whose endpoints rest."""

    def __init__(self, young: dict[int, Ticket], resting: dict[int, Ticket], spares: Spares, figures: ShortFigures) -> None:
        self._young, self._resting = young, resting
        self._spares = spares
        self._figures = figures

    def open(self, opened: list[int], ended: list[int]) -> None:
        """These endpoints of one pool, one at least, have got new sessions. One whose session is young has ended before: that is
        taken out of `ended`."""
        young, used = self._young, list[Ticket]()
        if self._spares or len(set(opened).difference(young)) < len(opened):
            used = self._open_one_by_one(opened, ended)
        else:
            young.update(zip(opened, map(self._resting.pop, opened), strict=True))
        self._figures.begin(used)
        self._figures.use_again(young[opened[0]], len(opened) - len(used))

    def _open_one_by_one(self, opened: list[int], ended: list[int]) -> list[Ticket]:
        """Returns the tickets of those that were spare."""
        young, used = self._young, list[Ticket]()
        for entry in opened:
            if (spare := self._spares.pop(entry)) is not None:
                young[entry] = spare
                used.append(spare)
            elif entry in young:
                ended.remove(entry)
                self._figures.rest(young[entry], 1)
            else:
                young[entry] = self._resting.pop(entry)
        return used

    def end(self, ended: list[int]) -> list[int]:
        """The sessions of these endpoints of one pool are over, and they rest; returns those of which it is not known yet that
        they were opened."""
        young, early = self._young, list[int]()
        known = young.keys() & ended
        if len(known) < len(ended):
            early = list((Counter(ended) - Counter(known)).elements())
        if known:
            self._resting.update(zip(known, map(young.pop, known), strict=True))
            self._figures.rest(self._resting[next(iter(known))], len(known))
        return early
