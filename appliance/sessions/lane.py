"""The sessions of a shard that the kernel carries: how they come into the lane's table, are held, let go, and leave it.

Python decides, and the kernel's program carries what was decided (see `ipc.lane_layout`). A session with an entry is in one of
two hands. While its record says that it is held, all its packets come up to Python, and the record is only written. Otherwise the
kernel moves it, and Python reads the record before it decides anything by what moves: `hold` before a packet that came up all the
same, `refresh` before its state or deadline is looked at, `reconcile` for all sessions whose state the kernel has moved.

None of this is a system call, but for the two flows that come into a hash table with a session and go with it. Those of several
sessions come and go with one call, see `gathers_flows`. Until then their packets come up.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from appliance.ipc.session_record import RECORD_BYTES, which_are_used
from appliance.model.counters import LANE_FULL
from appliance.model.tcp_state import TcpState
from appliance.policy.steering import SLOT_MASK
from appliance.sessions.lane_entries import LaneEntries
from appliance.sessions.lane_flows import LaneFlows
from appliance.sessions.lane_maps import LaneMaps
from appliance.sessions.outside import Outside
from appliance.state.by_state import ByState
from appliance.state.lane_entry import (
    CELLS,
    HELD_CELL,
    ISN_CELL,
    LAST_SEEN_WORD,
    LONGS,
    NS_PER_S,
    RS_FIRST_SEQ_CELL,
    SLOT_CELL,
    STATE_CELL,
    STATE_MASK,
    flow_of_segment,
    flows_of,
    is_plain,
    slot_in,
    take_over_phases,
    words_of,
    write_moves,
    write_record,
)
from appliance.state.session import Session

LEAST_INTERVAL_S = 0.002
"""How often, at most, all entries are looked at because there is no room for a new session."""

_CHANGED = b"\1"
_CLOSE, _LAST_ACK, _SYN_RECV = int(TcpState.CLOSE), int(TcpState.LAST_ACK), int(TcpState.SYN_RECV)
_OVER = (_CLOSE, int(TcpState.TIME_WAIT))
_CLOSED_BY_ONE = {int(TcpState.FIN_WAIT), int(TcpState.CLOSE_WAIT)}
_NO_VERSION = bytes(2)

_MOST_AT_ONCE = 4096
"""Sessions that are looked at, because there is no room for a new one, or remembered as over: some ten milliseconds' work."""


class Owner(Protocol):
    """What the lane needs of the sessions of its shard."""

    by_state: ByState[Session]

    def enter(self, session: Session, state: int) -> None:
        """Change the state of a session."""

    def wait(self, session: Session, until: float) -> None:
        """Set the deadline of a session."""


class Lane:
    """The lane of one shard. Every method does nothing where there is none."""

    def __init__(self, maps: LaneMaps, slots: Iterable[int], owner: Owner, queue_counts: memoryview, shard: int) -> None:
        """`slots` are those of the shard; `queue_counts` is its table of that name."""
        self.maps = maps
        self.is_on = maps.entries > 0
        self.entries = LaneEntries(maps.entries, slots)
        self.held: list[tuple[Session, int]] = []
        """Sessions that were held since the last `release_held`, and the cell of their state as it was then."""
        self.over = deque[Session](maxlen=_MOST_AT_ONCE)
        """Those that `reconcile` has found to be over last, and that nobody has taken from here (`sessions.retiring`)."""
        self.outside = Outside(maps.outside, shard)
        self.timeouts_s: list[float] = []
        """By state; the tunables in force."""
        self.gathers_flows = False
        """Whether flows come and go only when `publish_flows` is called, and not with each session. A worker that judges some
        packets before the first of them gets its verdict calls it in between."""
        self.flows = LaneFlows(maps, self.entries.reservation)
        self._owner = owner
        self._queue_counts = queue_counts
        self._records = maps.records
        self._cells = maps.records.cast("I")
        self._longs = maps.records.cast("Q")
        self._changed = maps.changed
        self._parts = tuple(self.entries.parts.items())
        self._next_part = 0
        self._last_look = 0.0

    def open(self, session: Session) -> None:
        """Give a session an entry, as the last thing that is done for its packet: from then on the kernel carries it, if it is
        plain. One for which there is no entry goes on with Python alone."""
        if not self.is_on or session.entry is not None or not session.service.lane:
            return
        flows = flows_of(session)
        entry = self.entries.take(slot_in(flows), session, self._owner.by_state.now)
        if entry is None:
            self._queue_counts[LANE_FULL] += 1
            self.outside.add(session)
            if session.state != _SYN_RECV:
                self.flows.release_of(session)
            return
        if self.outside:
            self.outside.discard(session)
        write_record(session, self._records, entry, is_held=not is_plain(session), last_seen_ns=self._last_seen_ns(session))
        session.words, session.entry, session.needs_slow_path = words_of(self._longs, entry), entry, True
        self.flows.come(entry, flows)
        if not self.gathers_flows:
            self.publish_flows()

    def take_entry(self, session: Session) -> int | None:
        """An entry for a session that is not there yet; None when there is none."""
        return self.entries.take(session.local_port & SLOT_MASK, None, self._owner.by_state.now)

    def return_entry(self, entry: int) -> None:
        """Give back an entry for which no session came."""
        self.clear(entry)
        self.entries.give_back(entry, self._owner.by_state.now)

    def give(self, session: Session, entry: int) -> None:
        """Let a session that the kernel has opened have its entry."""
        self.entries.assign(entry, session)
        session.words, session.entry = words_of(self._longs, entry), entry

    def words(self, entry: int) -> memoryview:
        """The words of a record, see `state.progress`."""
        return words_of(self._longs, entry)

    def publish_flows(self) -> None:
        """Let all flows come and go that wait for it. To be called before a packet that opened a session gets its verdict."""
        for entry in self.flows.publish():
            self._queue_counts[LANE_FULL] += 1
            session = self.entries.owner(entry)
            if session is not None:
                self.forget(session)
                self.outside.add(session)

    def reserve(self, flow: bytes) -> bool:
        """Have the kernel open no session with this flow of a client: the shard is about to. False when it has just done so, or
        when there is no room to say it; else the flow is released when no session comes of it."""
        if self.flows.reserve(flow):
            return True
        self.publish_flows()  # it may be one that goes
        return self.flows.reserve(flow)

    def adopt(self, session: Session, entry: int, now: float) -> float:
        """Let a session that was rebuilt from the record of this entry have it; returns when it was seen last, not after `now`.

        The kernel may be at work on it meanwhile, unless it is held: such a one goes back with the next `release_held`.
        """
        cells, at, longs, seen_at = self._cells, entry * CELLS, self._longs, entry * LONGS + LAST_SEEN_WORD
        self.entries.claim(entry, session)
        session.words, session.entry, session.needs_slow_path = words_of(self._longs, entry), entry, True
        cells[at + SLOT_CELL] = session.real_server.slot
        if session.real_server.lets_go:
            cells[at + HELD_CELL] = 1
        if cells[at + HELD_CELL]:
            self.held.append((session, cells[at + STATE_CELL]))
        if longs[seen_at] > now * NS_PER_S:
            longs[seen_at] = int(now * NS_PER_S)
        return longs[seen_at] / NS_PER_S

    def hold(self, session: Session) -> None:
        """Take a session that has an entry into Python's hands, for a packet of its that came up. The next `release_held` gives
        it back, unless it needs Python for longer."""
        entry, held = session.entry, self.held
        if entry is None or (held and held[-1][0] is session):
            return
        at, cells = entry * CELLS, self._cells
        was_held, cells[at + HELD_CELL] = cells[at + HELD_CELL], 1
        word = cells[at + STATE_CELL]
        self._take_over(session, entry, word)
        if not was_held:
            self._take_over_deadline(session, entry)
        held.append((session, word))

    def release_held(self) -> None:
        """Write down what Python has made of the sessions that it held, and let the kernel go on with those that are plain. To
        be called before the verdict on the packet: its answer may already find the session in the lane."""
        held = self.held
        while held:
            session, seen = held.pop()  # first: one that cannot be written stays held, and holds up no others
            entry = session.entry
            if entry is None:  # it has ended
                continue
            cells, at = self._cells, entry * CELLS
            now = cells[at + STATE_CELL]
            if now != seen and cells[at + ISN_CELL] == session.isn:
                self._merge(session, seen & STATE_MASK, now)
            self._write(session, entry)
            if is_plain(session):
                cells[at + HELD_CELL] = 0

    def _merge(self, session: Session, seen: int, now: int) -> None:
        """The kernel moved the state when Python had just taken hold: another CPU was at a packet of the session."""
        by_python, by_kernel = session.state, now & STATE_MASK
        take_over_phases(session, now, self._cells[(session.entry or 0) * CELLS + RS_FIRST_SEQ_CELL])
        if by_python == seen:
            state = by_kernel
        elif {by_python, by_kernel} == _CLOSED_BY_ONE:
            state = _LAST_ACK
        else:
            state = _CLOSE if by_kernel == _CLOSE else by_python
        if state != by_python:
            self._owner.enter(session, state)

    def _write(self, session: Session, entry: int) -> None:
        if self._cells[entry * CELLS + ISN_CELL] == session.isn:
            write_moves(session, self._cells, entry)
            self._longs[entry * LONGS + LAST_SEEN_WORD] = self._last_seen_ns(session)
        else:
            write_record(session, self._records, entry, is_held=True, last_seen_ns=self._last_seen_ns(session))

    def _last_seen_ns(self, session: Session) -> int:
        return max(0, round((session.deadline - self.timeouts_s[session.state]) * NS_PER_S))

    def refresh(self, session: Session) -> None:
        """Take over what the kernel has made of a session, before its state or its deadline is looked at."""
        entry = session.entry
        if entry is None or self._cells[entry * CELLS + HELD_CELL]:
            return
        self._take_over(session, entry, self._cells[entry * CELLS + STATE_CELL])
        self._take_over_deadline(session, entry)

    def _take_over(self, session: Session, entry: int, word: int) -> None:
        take_over_phases(session, word, self._cells[entry * CELLS + RS_FIRST_SEQ_CELL])
        state = word & STATE_MASK
        if state != session.state:
            # Without making room in TIME_WAIT: whoever looks has other sessions in his hands, and none of them may end by that.
            session.enter(state)

    def _take_over_deadline(self, session: Session, entry: int) -> None:
        last_seen_s = self._longs[entry * LONGS + LAST_SEEN_WORD] / NS_PER_S
        deadline = last_seen_s + self.timeouts_s[session.state]
        if deadline <= session.wheel_time:
            self._owner.wait(session, deadline)
        else:
            session.deadline = deadline

    def reconcile(self, limit: int) -> bool:
        """Take over what the kernel has made of up to `limit` sessions whose state it has moved; True when there may be more."""
        changed, parts = self._changed, self._parts
        for step in range(len(parts)):
            slot, part = parts[(self._next_part + step) % len(parts)]
            owners, start = self.entries.owners[slot], part.start
            end = start + len(owners)
            place = changed.find(_CHANGED, start, end)
            while place >= 0:
                if not limit:
                    self._next_part = (self._next_part + step) % len(parts)
                    return True
                limit -= 1
                changed[place] = 0  # before the record is read: what moves from now on sets it again
                session = owners[place - start]
                if session is not None:
                    self.refresh(session)
                    if session.state in _OVER:
                        self._note_end(session, self.entries.is_short(slot))
                place = changed.find(_CHANGED, place + 1, end)
        return False

    def _note_end(self, session: Session, are_entries_short: bool) -> None:
        """A connection is over. Python alone goes on with it where a new one needs its entry: hardly a packet comes."""
        if not are_entries_short:
            self.over.append(session)
        elif session.entry is not None:
            self._cells[session.entry * CELLS + HELD_CELL] = 1
            self.outside.add(session)
            self.leave(session)

    def look_for_room(self, now: float) -> None:
        """Take over all that the kernel has moved, because there is no room for a new session at `now`; not too often."""
        if self.is_on and not 0 <= now - self._last_look < LEAST_INTERVAL_S:
            self._last_look = now
            self.reconcile(_MOST_AT_ONCE)

    def forget(self, session: Session) -> None:
        """Take a session that is about to end out of the lane, with all that the kernel knows of it."""
        if (entry := session.entry) is None:
            self.outside.discard(session)
            self.flows.release_of(session)
            return
        cells, at = self._cells, entry * CELLS
        if not cells[at + HELD_CELL]:
            cells[at + HELD_CELL] = 1
            word = cells[at + STATE_CELL]
            take_over_phases(session, word, cells[at + RS_FIRST_SEQ_CELL])
            if (state := word & STATE_MASK) != session.state:
                session.enter(state)  # without making room for it: it has left in a moment
        self.leave(session)

    def leave(self, session: Session) -> None:
        """Take a session that Python holds out of the lane; Python alone goes on with it."""
        if (entry := session.entry) is None:
            return
        self.flows.take_out(entry, flows_of(session))
        session.words, session.entry = array("Q", session.words.tobytes()), None
        self.clear(entry)
        self.entries.give_back(entry, self._owner.by_state.now)
        session.settle()
        if not self.gathers_flows:
            self.publish_flows()

    def carries(self, key: bytes) -> bool:
        """Whether segments with this key belong to a session in the lane, of whichever shard; with a lane, a system call."""
        return self.maps.value_of(flow_of_segment(key)) is not None

    def entries_with_record(self, entries: range) -> list[int]:
        """Those of the entries that have a version."""
        used = which_are_used(self._records[entries.start * RECORD_BYTES : entries.stop * RECORD_BYTES])
        return [entries.start + place for place, is_used in enumerate(used) if is_used]

    def clear(self, entry: int) -> None:
        """Make an entry one without a session. All else stays in its record, for a program that is still at work on it."""
        start = entry * RECORD_BYTES
        self._records[start : start + len(_NO_VERSION)] = _NO_VERSION
        self._changed[entry] = 0
