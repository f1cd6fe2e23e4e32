"""The VIPs and local addresses that the appliance adds to interfaces of its host, puts back when they go, and removes again."""

import logging
from collections.abc import Callable, Iterable, Sequence

from appliance.edge import addresses
from appliance.edge.addresses import Placed

log = logging.getLogger("appliance.host")

_NAMED = 20
"""How many addresses a line of the log names."""


class HostAddresses:
    """Those that this run has added, and those that it takes over from the run before. All methods block."""

    def __init__(self, save: Callable[[], None], problems: dict[str, str]) -> None:
        """`save` writes down what is to be undone, before it is changed. `problems` are those of the host."""
        self._save = save
        self._problems = problems
        self.ours: list[Placed] = []
        """What is to be removed in the end."""
        self.missing: tuple[str, ...] = ()
        """What no interface has although another program is to add it."""

    def look(self, wanted: Sequence[Placed], gone: Sequence[str], *, managed: bool, at_start: bool) -> None:
        """Add what no interface has, but to interfaces that are gone; when another program is to add it, note it.

        Raises EdgeError in the end, when the kernel has refused some.
        """
        present = addresses.all_present()
        missing = [(interface, address) for interface, address in wanted if address not in present]
        if not managed:
            self._note_missing(tuple(address for _, address in missing))
            return
        if at_start:
            _say("on this host already and left as they are, for %s: %s", [pair for pair in wanted if pair[1] in present])
        self._add([pair for pair in missing if pair[0] not in gone], at_start=at_start)

    def _add(self, missing: Sequence[Placed], *, at_start: bool) -> None:
        known = set(self.ours)
        if new := [pair for pair in missing if pair not in known]:
            self.ours += new
            self._save()
        if missing:
            if not at_start:
                _say("gone from %s, and added again: %s", missing, logging.ERROR)
                listed = (f"{words} had gone from {interface}" for interface, words in _by_interface(missing))
                self._problems["address"] = f"{'; '.join(listed)}: put back"
            addresses.add(missing)
            _say("added to %s: %s", missing)
        self._problems.pop("address", None)

    def add_all(self, wanted: Sequence[Placed]) -> None:
        """Add what no interface has. Raises EdgeError when the kernel refuses some; all of them are ours then."""
        present, known = addresses.all_present(), set(self.ours)
        if missing := [pair for pair in wanted if pair[1] not in present]:
            self.ours += [pair for pair in missing if pair not in known]
            self._save()
            addresses.add(missing)
            _say("added to %s: %s", missing)

    def _note_missing(self, missing: tuple[str, ...]) -> None:
        if missing != self.missing:
            words = _in_words(missing) or "none"
            log.warning("VIPs and local addresses that no interface has (manage_addresses is false): %s", words)
        self.missing = missing

    def remove_unlike(self, wanted: Iterable[Placed]) -> None:
        """Remove what was added for a configuration that is not in force any more. Raises EdgeError when the kernel refuses."""
        kept = set(wanted)
        if not_wanted := [pair for pair in self.ours if pair not in kept]:
            addresses.remove(not_wanted)
            self.ours = [pair for pair in self.ours if pair in kept]
            _say("removed from %s: %s", not_wanted)
            self._save()

    def undo(self) -> None:
        """Remove all of ours, the latest first. Raises EdgeError when the kernel refuses some."""
        ours, self.ours = self.ours, []
        addresses.remove(ours[::-1])


def _say(words: str, placed: Iterable[Placed], level: int = logging.INFO) -> None:
    """A line of the log for each interface."""
    for interface, listed in _by_interface(placed):
        log.log(level, words, interface, listed)


def _by_interface(placed: Iterable[Placed]) -> list[tuple[str, str]]:
    """Each interface, and its addresses in words."""
    of: dict[str, list[str]] = {}
    for interface, address in placed:
        of.setdefault(interface, []).append(address)
    return [(interface, _in_words(listed)) for interface, listed in of.items()]


def _in_words(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
