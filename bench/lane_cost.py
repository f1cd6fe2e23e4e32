"""How long a shard takes for a connection in the lane: for its SYN, the only packet of it that comes to the shard; for what the
shard takes over of all that the kernel has carried; and for its end.

The maps are the kernel's, because the calls for flows are much of that: it needs root, and the program that `make lane` builds.
What the kernel would write into the record of a connection, until that rests, is written here. Prints microseconds for each.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from appliance.edge import bpf
from appliance.edge.lane_kernel import OF_WORKERS
from appliance.edge.lane_maps import KernelLaneMaps
from appliance.edge.lane_object import object_file
from appliance.edge.lane_sizes import Sizes
from appliance.ipc.lane_layout import USUAL_ENTRIES
from appliance.ipc.session_record import Flags
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.sessions.lane_maps import LaneMaps
from appliance.shard.shard import Shard
from appliance.state.lane_entry import CELLS, LAST_SEEN_WORD, LONGS, NS_PER_S, RS_FIRST_SEQ_CELL, STATE_CELL
from appliance.state.session import Session
from appliance.wire.layout import ADDRESSES_END, ADDRESSES_START
from bench.rig.conversation import Conversation, handled, new_shard

ROUNDS, CONNECTIONS_PER_ROUND = 120, 50
"""A round takes two milliseconds: on a busy machine many of them are not interrupted."""

FLOWS_OF = 5
"""Flows of so many sessions come and go at once: as many as a worker finds waiting when it is busy and not behind."""

_Item = TypeVar("_Item")

_RESTS = int(TcpState.TIME_WAIT) | int(Flags.HAS_ANSWER) << 8
_RS_FIRST_SEQ = 3_500_000_000


class Round(NamedTuple):
    """Microseconds for one connection on the average."""

    syn: float
    taken_over: float
    end: float


class Carried:
    """Connections that the kernel would carry, through one shard. The first ones last as long as the last ones begin, so that
    each has an entry and a local port that were not used before."""

    def __init__(self, shard: Shard, maps: LaneMaps) -> None:
        self._shard = shard
        shard.gather_flows()
        self._handled = 0
        self._maps = maps
        self._cells, self._longs = maps.records.cast("I"), maps.records.cast("Q")
        self._number = 0
        self._now = 0.0

    def run(self, rounds: int, count: int) -> list[Round]:
        """`count` connections a round. Raises AssertionError when a SYN was not translated, or a session is not in the lane."""
        opened = [self._open(count) for _ in range(rounds)]
        return [Round(syn, taken_over, self._end(sessions)) for syn, taken_over, sessions in opened]

    def _open(self, count: int) -> tuple[float, float, list[Session]]:
        self._now += 1
        syns = [Conversation(self._number + each).syn() for each in range(count)]
        self._number += count
        syn_us = _microseconds(syns, self._syn)
        sessions = [self._carried(syn) for syn in syns]
        taken_over_us = _microseconds([count], lambda limit: self._shard.reconcile(limit, self._now)) / count
        if any(session.state != TcpState.TIME_WAIT for session in sessions):
            raise AssertionError("what the kernel has moved was not taken over")
        return syn_us, taken_over_us, sessions

    def _syn(self, syn: bytes) -> None:
        handled(self._shard, syn, TO_REAL_SERVER, self._now)
        self._publish()

    def _end_one(self, session: Session) -> None:
        self._shard._sessions.end(session, EndReason.EXPIRED)
        self._publish()

    def _publish(self) -> None:
        self._handled += 1
        if not self._handled % FLOWS_OF:
            self._shard.publish_flows()

    def _carried(self, syn: bytes) -> Session:
        """The session of a SYN, as the kernel leaves it when it rests."""
        session, _ = self._shard._sessions.tcp.find(syn[ADDRESSES_START:ADDRESSES_END])
        if session is None or session.entry is None:
            raise AssertionError("the lane does not carry a connection")
        cells_at = session.entry * CELLS
        self._cells[cells_at + STATE_CELL], self._cells[cells_at + RS_FIRST_SEQ_CELL] = _RESTS, _RS_FIRST_SEQ
        self._longs[session.entry * LONGS + LAST_SEEN_WORD] = int(self._now * NS_PER_S)
        self._maps.changed[session.entry] = 1
        return session

    def _end(self, sessions: Sequence[Session]) -> float:
        return _microseconds(sessions, self._end_one)


def _microseconds(items: Sequence[_Item], do: Callable[[_Item], object]) -> float:
    """For each of these, on the average."""
    start = time.perf_counter()
    for item in items:
        do(item)
    return (time.perf_counter() - start) / len(items) * 1e6


def main() -> None:
    """Measure and print. Raises EdgeError when the kernel has no lane, and AssertionError when something else was measured."""
    gc.disable()
    with bpf.load(object_file(), Sizes(USUAL_ENTRIES, 1).of_maps) as kernel:
        maps = KernelLaneMaps([kernel.maps[name].fd for name in OF_WORKERS])
        rounds = Carried(new_shard(maps), maps).run(ROUNDS, CONNECTIONS_PER_ROUND)
    _report("whole connection", [sum(one) for one in rounds])
    _report("  SYN", [one.syn for one in rounds])
    _report("  what is taken over", [one.taken_over for one in rounds])
    _report("  end", [one.end for one in rounds])


def _report(label: str, figures: list[float]) -> None:
    print(f"{label:34} median {statistics.median(figures):5.1f} us   best {min(figures):5.1f} us")


if __name__ == "__main__":
    main()
