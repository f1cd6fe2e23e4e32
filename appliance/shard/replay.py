"""A capture handed to shards once more, with the times of the capture: what becomes of each packet, without a kernel.

Shards of its own have other secrets than the one in the capture: they choose other local ports, and show real servers other
sequence numbers. So packets of real servers are given the flow and the numbers that they would have here, which a capture of
`appliance capture` tells: behind a packet of a client it has what went on. SYN cookies of the capture are not valid here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.queries import Query
from appliance.ipc.shared_layout import SharedState
from appliance.model.stages import KERNEL, stage_of
from appliance.model.verdict import Action
from appliance.shard.shard import Shard
from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS, delta
from appliance.wire.flow import reverse_key
from appliance.wire.pcapng import Captured
from appliance.wire.seq import add

OUT = "out"
"""The interface of `appliance capture` that has packets as they went on. All others have packets as they came."""

WENT_ON = "as it went on: "
"""How the comment of a packet begins that was rewritten."""

SPAN_MAX_S = 7 * 86_400.0
"""The longest capture: the timers of a shard look at each tenth of a second of it."""

_NUMBER_BYTES, _CHECKSUM_BYTES = 4, 2
_SEQ = slice(at.ADDRESSES_END, at.ADDRESSES_END + _NUMBER_BYTES)
_ACK = slice(_SEQ.stop, _SEQ.stop + _NUMBER_BYTES)
_CHECKSUM_OF = {
    at.PROTO_TCP: slice(at.HEADERS.size - _CHECKSUM_BYTES, at.HEADERS.size),
    at.PROTO_UDP: slice(at.UDP_REWRITTEN_END - _CHECKSUM_BYTES, at.UDP_REWRITTEN_END),
}

_FIRST_S = 1000.0
_EXPIRIES = 1000


class ReplayError(ValueError):
    """A capture cannot be replayed; the message says why."""


class Replayed(NamedTuple):
    """One packet that came."""

    captured: Captured
    words: str
    """Verdict, reason and stage, as the comment of a capture says them; empty when it was not judged."""
    why_not: str
    """Why it was not judged."""

    @property
    def differs(self) -> bool:
        """Whether the capture says something else."""
        return bool(self.words and self.captured.comment) and self.words != self.captured.comment


class _Twin(NamedTuple):
    """What a flow of the capture is here."""

    key: bytes
    ack_delta: int


class Replay:
    """All shards of a run, and the packets that they have been handed."""

    def __init__(self, plans: Sequence[Plan], shared: SharedState) -> None:
        """Raises what Shard raises for a plan that makes no sense."""
        self._shards = [Shard(plan, shared, _FIRST_S) for plan in plans]
        self._first_s: float | None = None
        self._now = _FIRST_S
        self._sent = b""
        """The last packet that went on to a real server or a client."""
        self._twins: dict[bytes, _Twin] = {}

    def put(self, captured: Captured) -> Replayed | None:
        """Judge a packet that came; None for one that went out. Raises ReplayError."""
        if captured.interface == OUT:
            self._learn(captured)
            return None
        self._sent = b""
        if why_not := _why_not(captured):
            return Replayed(captured, "", why_not)
        self._move_to(captured.at_s)
        queue = captured.queue or 0
        shard = self._shards[queue if 0 <= queue < len(self._shards) else 0]
        verdict = shard.handle(self._as_here(captured.data), self._now)
        shard.output.segments.clear()
        if verdict.action is Action.REWRITTEN:
            self._sent = shard.output.rewritten
        return Replayed(captured, f"{verdict.action.value} {verdict.name} ({stage_of(verdict.name)})", "")

    def change(self, at_s: float, services: Sequence[ServicePlan], down: Sequence[int], drained: Sequence[int]) -> None:
        """Go by these services, and the real servers in these slots that are down or drained, from a moment on; and read the
        tunables anew. Raises ReplayError, and what `Shard.change_services` raises."""
        self._move_to(at_s)
        for shard in self._shards:
            shard.change_services(services)
            shard.change_health(down)
            shard.change_drained(drained)
        self._tick()

    def end(self, at_s: float, query: Query) -> None:
        """End the sessions that a query of the kind CUT selects. Raises ReplayError, and what `Shard.walk` raises."""
        self._move_to(at_s)
        for shard in self._shards:
            walk = shard.walk(query)
            while not walk.step(self._now).is_last:
                shard.output.segments.clear()
            shard.output.segments.clear()

    def _tick(self) -> None:
        for shard in self._shards:
            while shard.on_tick(self._now, _EXPIRIES):
                shard.output.segments.clear()
            shard.output.segments.clear()

    def _move_to(self, at_s: float) -> None:
        """Let time pass. It never goes back, whatever a file says."""
        if self._first_s is None:
            self._first_s = at_s
        if at_s - self._first_s > SPAN_MAX_S:
            raise ReplayError(f"its packets are of more than {SPAN_MAX_S / 86_400:.0f} days")
        self._now = max(self._now, _FIRST_S + at_s - self._first_s)
        self._tick()

    def _learn(self, captured: Captured) -> None:
        """Note which flow here is that of a packet that went on in the capture."""
        there, here = captured.data, self._sent
        if captured.comment.startswith(WENT_ON) and min(len(there), len(here)) >= at.QUOTED_MIN_BYTES:
            there_key, here_key = (raw[at.ADDRESSES_START : at.ADDRESSES_END] for raw in (there, here))
            self._twins[reverse_key(there_key)] = _Twin(reverse_key(here_key), add(_seq(here), -_seq(there)))

    def _as_here(self, raw: bytes) -> bytes:
        """A packet of the capture as it would come here."""
        twin = self._twins.get(raw[at.ADDRESSES_START : at.ADDRESSES_END])
        if twin is None or len(raw) < at.QUOTED_MIN_BYTES or raw[at.PROTOCOL] not in _CHECKSUM_OF:
            return raw
        moved = bytearray(raw)
        moved[at.ADDRESSES_START : at.ADDRESSES_END] = twin.key
        is_tcp = raw[at.PROTOCOL] == at.PROTO_TCP
        if is_tcp and len(raw) >= at.HEADERS.size:
            ack = add(int.from_bytes(raw[_ACK], "big"), twin.ack_delta)
            moved[_ACK] = ack.to_bytes(_NUMBER_BYTES, "big")
        changed = slice(at.ADDRESSES_START, _ACK.stop if is_tcp else at.ADDRESSES_END)
        place = _CHECKSUM_OF[raw[at.PROTOCOL]]
        if any(raw[place]):  # a datagram may have none
            moved_by = delta(raw[changed], bytes(moved[changed]))
            moved[place] = ((int.from_bytes(raw[place], "big") + moved_by) % MODULUS).to_bytes(_CHECKSUM_BYTES, "big")
        return bytes(moved)


def _seq(raw: bytes) -> int:
    return int.from_bytes(raw[_SEQ], "big")


def _why_not(captured: Captured) -> str:
    if not captured.data:
        return "no IPv4 packet"
    if captured.comment.endswith(f"({KERNEL})"):
        return "a rule of the kernel dropped it"
    if len(captured.data) < captured.whole_bytes:
        return f"only {len(captured.data)} of its {captured.whole_bytes} bytes are there"
    return ""
