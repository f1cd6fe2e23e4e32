"""A packet of a replay as a line of text. Pure."""

from datetime import UTC, datetime
from typing import Protocol

from appliance.wire.pcapng import Captured
from appliance.wire.show import show


class Replayed(Protocol):
    """What is shown; `shard.replay` makes it."""

    @property
    def captured(self) -> Captured:
        """The packet of the file."""

    @property
    def words(self) -> str:
        """Its verdict here; empty when it was not judged."""

    @property
    def why_not(self) -> str:
        """Why it was not judged."""

    @property
    def differs(self) -> bool:
        """Whether the file says something else."""


def as_text(packet: Replayed) -> str:
    """One line; behind it, what the file says, when that is something else."""
    captured = packet.captured
    at = datetime.fromtimestamp(captured.at_s, UTC).strftime("%H:%M:%S.%f")
    what = packet.words or f"not replayed ({packet.why_not})"
    said = f"   # the file says: {captured.comment}" if packet.differs else ""
    return f"{at} {what}: {show(captured.data)}{said}\n"
