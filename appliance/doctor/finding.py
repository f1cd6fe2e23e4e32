"""What the doctor says: findings, how bad each is, and the checks that make them."""

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from appliance.doctor.facts import Snapshot


class Severity(IntEnum):
    """How bad a finding is. OK is for a report without any."""

    OK = 0
    NOTE = 1
    """Worth knowing; nothing is lost by it."""
    WARNING = 2
    """Something is lost now and then, or will be soon."""
    ERROR = 3
    """Traffic is lost now, or all of it would be."""

    @property
    def word(self) -> str:
        """The severity as the views show it."""
        return self.name.lower()


class Finding(NamedTuple):
    """One thing that is wrong, in words for the operator."""

    severity: Severity
    about: str
    """The interface, real server, pool, … that it is about; empty when it is about the whole gateway."""
    problem: str
    """One sentence."""
    evidence: str
    """The numbers that were seen."""
    advice: str
    """What to do, in words; the commands do it where commands can."""
    commands: tuple[str, ...] = ()
    """Shell commands that mend it on this host, in their order."""
    run_on: str = ""
    """Where the commands are to be run, when that is not the gateway: an address."""
    name: str = ""
    """The name of the check that found it; `examine` sets it."""


class Check(NamedTuple):
    """One kind of finding."""

    name: str
    find: Callable[["Snapshot"], Iterable[Finding]]
    needs: tuple[str, ...]
    """The facts that it needs, as attributes of the snapshot. When one of them could not be collected, it is left out."""
    rule: str
    """When there is such a finding, and how bad it is then."""
    reason: str
    """Why that is bad."""
