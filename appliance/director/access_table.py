"""The nftables table of access lists and rate limits: loaded, put back, counted, left for the next run."""

import logging
import threading
from collections.abc import Collection, Mapping, Sequence, Set

from appliance.edge import nft, nft_dump
from appliance.policy.access_rules import ACCESS_TABLE, COUNTERS, AccessService, counter_name, named_sets, render_access
from appliance.policy.defence import KernelCounts

log = logging.getLogger("appliance.host")


class AccessTable:
    """All methods block, and raise EdgeError when the kernel refuses."""

    def __init__(self) -> None:
        self.services: Sequence[AccessService] = ()
        """Those with lists or limits, as they are in force."""
        self._rules: tuple[bytes, ...] | None = None
        """What the kernel said of the rules when they were loaded; None while nothing is to be there."""
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
                self._load(services)

    def mend(self) -> None:
        """Load the rules again when they are not what was loaded."""
        with self._changing:
            if self._rules is not None and nft_dump.rules(ACCESS_TABLE) != self._rules:
                log.error("the access lists and rate limits are gone or changed (a flush?): loading them again")
                self._load(self.services, anew=True)

    def end(self) -> None:
        """Put nothing back from now on."""
        with self._changing:
            self._rules = None

    def _load(self, services: Sequence[AccessService], *, anew: bool = False) -> None:
        self._read_counts()
        loaded = nft.access_table()
        missing = [name for name in named_sets(services) if name not in loaded.sets]
        for text in render_access(services, loaded, anew=anew):
            if text:
                nft.change(text)
        for name in missing:
            log.warning("the set %s was not in the table ip %s: it is made, empty", name, ACCESS_TABLE)
        self.made.update(missing)
        self.services, self._rules = services, nft_dump.rules(ACCESS_TABLE)

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
        """The same, of all services together, also of those that have no lists any more: by the name of the counter."""
        totals = dict.fromkeys(COUNTERS, 0)
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


def missing_sets(named: Collection[str], made: Set[str]) -> tuple[str, ...]:
    """Those of these sets of the operator that are not there, or were `made` by the appliance and have nothing in them."""
    present = nft_dump.sets(ACCESS_TABLE) if named else frozenset[str]()
    return tuple(
        name for name in named if name not in present or (name in made and not nft_dump.has_elements(ACCESS_TABLE, name))
    )
