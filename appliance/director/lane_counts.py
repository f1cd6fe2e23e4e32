"""Brings what the lane counts in the kernel into its row of the shared counters."""

from collections.abc import Iterable

from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import (
    ACK_STORM,
    ACTIVE_CONNS,
    BAD_ACK,
    CONNS,
    INACTIVE_CONNS,
    NULL_ACK,
    OK_ACK,
    SYN_CNT,
    TOA_FAIL_LEN,
    TOA_OK,
)
from appliance.model.lane_counters import LANE_COUNTER_PLACE
from appliance.model.verdicts import (
    BAD_COOKIE,
    BAD_FLAGS,
    COOKIE_SENT,
    HANDSHAKE_PACKET,
    NO_SESSION,
    NULL_COOKIE_ACK,
    SOURCE_LIMIT,
    STORM,
)
from appliance.policy.defence import TCP

_EXT = {
    TOA_OK: ("option_added",),
    TOA_FAIL_LEN: ("option_no_room",),
    ACK_STORM: ("storm",),
    SYN_CNT: ("cookie_sent",),
    BAD_ACK: ("bad_cookie",),
    NULL_ACK: ("null_cookie_ack",),
    OK_ACK: ("proven",),
    TCP.place: ("stray", "bad_flags"),
}
"""By the place in the extended table: the counters of the lane that count the same, together."""

_VERDICTS = {
    STORM.index: ("storm",),
    COOKIE_SENT.index: ("cookie_sent",),
    BAD_COOKIE.index: ("bad_cookie",),
    NULL_COOKIE_ACK.index: ("null_cookie_ack",),
    HANDSHAKE_PACKET.index: ("joined",),
    NO_SESSION.index: ("stray",),
    BAD_FLAGS.index: ("bad_flags",),
    SOURCE_LIMIT.index: ("source_limit",),
}
"""By the place among the verdicts: the same."""

_CARRIED_FIELDS = 4
"""The first of `counters.DESTINATION_FIELDS`: packets and bytes of both directions."""


class LaneCounts:
    """What was counted before the maps began to count stays: the maps may be younger than the shared counters."""

    def __init__(self, kernel: LaneKernel, shared: SharedState) -> None:
        self._kernel = kernel
        self._shared = shared
        self._before: dict[tuple[str, int, int], int] = {}
        """By table, slot and place."""
        self._in_use: set[int] | None = None
        """The slots of real servers that had sessions at the last look; None before the first one."""
        self._conns: dict[int, bytes] = {}
        """By shard: the sessions that each slot had had by then."""

    def look(self, slots: Iterable[int]) -> list[int]:
        """Write the numbers of this moment; those of LANE_COUNTERS are returned. `slots` are those of real servers. Nothing is
        carried for one without sessions, so after the first look only those are looked at that have some, or had.

        Blocks; raises EdgeError when the kernel cannot be asked.
        """
        counts = self._kernel.counts()
        row = self._shared.lane
        for table, names in (("ext", _EXT), ("verdicts", _VERDICTS)):
            cells = self._shared.table(row, table)
            for place, same in names.items():
                self._put((table, 0, place), cells, sum(counts[LANE_COUNTER_PLACE[name]] for name in same))
        busy = self._busy()
        for slot, carried in self._kernel.traffic(slots if busy is None else busy).items():
            cells = self._shared.destination(row, slot)
            for place in range(_CARRIED_FIELDS):
                self._put(("destination", slot, place), cells, carried[place])
        return counts

    def start_anew(self, slot: int) -> None:
        """Count a slot from nothing, for another real server; the shared counters have nothing for it. Raises EdgeError."""
        self._before |= {("destination", slot, place): 0 for place in range(_CARRIED_FIELDS)}
        self._kernel.forget_traffic(slot)

    def _busy(self) -> set[int] | None:
        """The slots that have sessions now, had some at the last look, or had one in between; None for all, at the first look."""
        in_use, came = set[int](), set[int]()
        for shard in range(self._shared.shards):
            for field in (ACTIVE_CONNS, INACTIVE_CONNS):
                in_use.update(slot for slot, sessions in enumerate(self._shared.column(shard, field)) if sessions)
            conns = self._shared.column(shard, CONNS).tobytes()
            if conns != (before := self._conns.get(shard, conns)):
                pairs = zip(memoryview(conns).cast("Q"), memoryview(before).cast("Q"), strict=True)
                came.update(slot for slot, (now, then) in enumerate(pairs) if now != then)
            self._conns[shard] = conns
        before_in_use, self._in_use = self._in_use, in_use
        return None if before_in_use is None else in_use | came | before_in_use

    def _put(self, key: tuple[str, int, int], cells: memoryview, number: int) -> None:
        place = key[2]
        if key not in self._before:
            self._before[key] = max(0, cells[place] - number)
        cells[place] = self._before[key] + number
