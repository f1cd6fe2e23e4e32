"""The nftables table of access lists and rate limits: loaded, put back, counted, left for the next run."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from math import inf
from types import MappingProxyType

from appliance.edge import nft, nft_dump
from appliance.policy.access_rules import (
    ACCESS_TABLE,
    COUNTERS,
    MENDED,
    AccessService,
    counter_name,
    fixed_sets,
    named_sets,
    render_access,
    render_elements,
)
from appliance.policy.defence import KernelCounts

log = logging.getLogger("appliance.host")


_LOOKING_SHARE = 20
"""A look at all elements takes up to half a second, when somebody has changed rules of whatever table. It is made that rarely
that looking takes a twentieth of the time at most."""


class AccessTable:
    """All methods block, and raise EdgeError when the kernel refuses."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.services: Sequence[AccessService] = ()
        """Those with lists or limits, as they are in force."""
        self._rules: tuple[bytes, ...] | None = None
        """What the kernel said of the rules when they were loaded; None while nothing is to be there."""
        self._elements: dict[str, bytes] = {}
        """By set: what stood for its elements when they were loaded."""
        self._looked_at: int | None = None
        """The number of the ruleset in which that was looked at last."""
        self._look_at_s = -inf
        """When elements are looked at again, at the earliest."""
        self._mended = 0
        self.made: set[str] = set()
        """Sets of the operator that were not there."""
        self._counts: dict[str, KernelCounts] = {}
        """By the name of a counter in the table: what it has counted, of itself."""
        self._changing = threading.Lock()

    def start(self) -> None:
        """Load the rules; those that an earlier run has left are replaced."""
        with self._changing:
            self._load(self.services, anew=True)

    def change(self, services: Sequence[AccessService]) -> None:
        """Put other services in force, in one transaction. When that is refused, the old ones stay."""
        with self._changing:
            if self._rules is None or services != self.services:
                self._mend(at_once=True)  # what is loaded then counts as what there is to be
                self._load(services)

    def mend(self) -> None:
        """Load the rules again when they are not what was loaded, and elements of sets."""
        with self._changing:
            self._mend(at_once=False)

    def _mend(self, *, at_once: bool) -> None:
        """`at_once`: without a pause since the last look at elements."""
        if self._rules is None:
            return
        if nft_dump.rules(ACCESS_TABLE) != self._rules:
            log.error("the access lists and rate limits are gone or changed (a flush?): loading them again")
            self._load(self.services, anew=True)
        elif self._elements and (at_once or self._now() >= self._look_at_s):
            self._mend_elements()

    def _mend_elements(self) -> None:
        """Give sets the elements again that they are to have, if somebody has changed any rules or sets since the last look."""
        generation = nft_dump.generation()
        if generation == self._looked_at:
            return
        began = self._now()
        found = _elements_of(self.services)
        ended = self._now()
        self._look_at_s = ended + _LOOKING_SHARE * (ended - began)
        if changed := [name for name in found if found[name] != self._elements[name]]:
            log.error(
                "somebody else has changed what is in %s of the table ip %s: it is put back", ", ".join(changed), ACCESS_TABLE
            )
            nft.change(render_elements(self.services, changed))
            self._mended += len(changed)
            self._elements = _elements_of(self.services, {name: was for name, was in found.items() if name not in changed})
        self._looked_at = generation

    def end(self) -> None:
        """Put nothing back from now on."""
        with self._changing:
            self._rules = None

    def _load(self, services: Sequence[AccessService], *, anew: bool = False) -> None:
        self._read_counts()
        loaded = nft.access_table()
        missing = [name for name in named_sets(services) if name not in loaded.sets]
        lists = [name for name, is_list in fixed_sets(services).items() if is_list and name in loaded.sets] if anew else []
        for text in (render_elements(services, lists), *render_access(services, loaded, anew=anew)):
            if text:
                nft.change(text)
        for name in missing:
            log.warning("the set %s was not in the table ip %s: it is made, empty", name, ACCESS_TABLE)
        self.made.update(missing)
        self.services, self._rules = services, nft_dump.rules(ACCESS_TABLE)
        # A list is named by its content, so one that stays has what it had.
        known = {name: was for name, was in self._elements.items() if not anew and fixed_sets(services).get(name)}
        self._elements, self._looked_at = _elements_of(services, known), None

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Packets that were dropped since the start, by service and name of the counter (COUNTERS)."""
        with self._changing:
            self._read_counts()
            return {
                (service.name, counter): self._counts[name].totals[name]
                for service in self.services
                for counter in COUNTERS
                if (name := counter_name(service, counter)) in self._counts
            }

    def totals(self) -> dict[str, int]:
        """The same, of all services together, also of those that have no lists any more: by the name of the counter. And how many
        sets were mended."""
        totals = dict.fromkeys(COUNTERS, 0) | {MENDED: self._mended}
        with self._changing:
            self._read_counts()
            counted = list(self._counts.items())
        for name, counts in counted:
            totals[next(counter for counter in COUNTERS if name.startswith(counter))] += counts.totals[name]
        return totals

    def _read_counts(self) -> None:
        """Counters that are removed begin at zero when they come back, so what they have counted is added up."""
        found = nft_dump.counters(ACCESS_TABLE) if self.services or self._counts else {}
        for name in found:
            if name.startswith(COUNTERS):
                self._counts.setdefault(name, KernelCounts([name])).read(found)
        for name in self._counts.keys() - found.keys():
            self._counts[name].start_anew()


def _elements_of(services: Sequence[AccessService], known: Mapping[str, bytes] = MappingProxyType({})) -> dict[str, bytes]:
    """By set: what stands for its elements. Those that are known are not read."""
    return {
        name: known.get(name) or nft_dump.elements(ACCESS_TABLE, name, in_order=is_list)
        for name, is_list in fixed_sets(services).items()
    }


def missing_sets(named: Collection[str], made: Set[str]) -> tuple[str, ...]:
    """Those of these sets of the operator that are not there, or were `made` by the appliance and have nothing in them."""
    present = nft_dump.sets(ACCESS_TABLE) if named else frozenset[str]()
    return tuple(
        name for name in named if name not in present or (name in made and not nft_dump.has_elements(ACCESS_TABLE, name))
    )
