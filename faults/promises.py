"""What is promised of a fault, and whether it was kept. Pure.

A promise has one form with the lane, in which the kernel carries sessions, and one without. Times are generous: they say what an
operator may count on, on a busy machine, and not how fast this one was.
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from faults.figures import SILENT, Exchanges, Figures


class Lost(Enum):
    """Which established sessions may be lost."""

    NONE = "none"
    CONCERNED = "those that the fault concerns"


class Kind(Enum):
    """What a broken promise is about: data, sessions, or how long something took, which a busy machine can break as well."""

    DATA = "data"
    SESSIONS = "sessions"
    TIME = "time"


class Broken(NamedTuple):
    """A promise that was not kept, and how."""

    kind: Kind
    words: str


class Promise(NamedTuple):
    """What may happen. Times are seconds after the cause is gone."""

    lost: Lost
    new_s: float
    """By then, new connections and datagrams of new sessions are answered."""
    established_s: float
    """By then, every session that is not lost goes on."""
    undisturbed: bool = False
    """Whether no connection and no datagram fails at all."""
    told: bool = False
    """Whether both ends of a lost session are told, so that no client waits for its own timeout."""

    def in_words(self) -> str:
        """One line."""
        parts = [f"sessions lost: {self.lost.value}{' (clients are told)' if self.told else ''}"]
        if self.undisturbed:
            parts.append("nothing fails")
        else:
            parts.append(f"new ones within {self.new_s:g} s")
        return f"{'; '.join(parts)}; others go on within {self.established_s:g} s"


UNNOTICED = Promise(Lost.NONE, 0.0, 2.0, undisturbed=True)
"""Nobody notices anything, apart from packets that come a moment later."""


def carried(promise: Promise) -> Promise:
    """The same with the lane: sessions do not notice; new ones still wait for the next process."""
    return promise._replace(lost=Lost.NONE, established_s=2.0)


def broken(promise: Promise, seen: Figures) -> Iterator[Broken]:
    """Everything that was not kept; nothing when all was."""
    if seen.corrupted:
        yield Broken(Kind.DATA, f"{seen.corrupted} streams or answers had wrong bytes")
    if not seen.right_bytes:
        yield Broken(Kind.DATA, "no byte was exchanged")
    if promise.lost is Lost.NONE and seen.losses:
        yield Broken(Kind.SESSIONS, f"{seen.losses} sessions were lost")
    elif seen.lost_elsewhere:
        yield Broken(Kind.SESSIONS, f"{seen.lost_elsewhere} sessions were lost that the fault does not concern")
    if promise.told and seen.lost.get(SILENT):
        yield Broken(Kind.SESSIONS, f"{seen.lost[SILENT]} clients of lost sessions were not told")
    if seen.established_back_s > promise.established_s:
        yield Broken(Kind.TIME, f"established sessions went on after {seen.established_back_s:.1f} s")
    for title, some in (("connections", seen.connections), ("datagrams", seen.datagrams)):
        yield from _broken_of(promise, title, some)


def _broken_of(promise: Promise, title: str, seen: Exchanges) -> Iterator[Broken]:
    if not seen.begun:
        yield Broken(Kind.DATA, f"no new {title} were tried")
    if promise.undisturbed and seen.failures:
        yield Broken(Kind.SESSIONS, f"{seen.failures} new {title} failed")
    elif seen.back_s is None:
        yield Broken(Kind.TIME, f"new {title} still failed at the end")
    elif not promise.undisturbed and seen.back_s > promise.new_s:
        yield Broken(Kind.TIME, f"new {title} were answered after {seen.back_s:.1f} s")
