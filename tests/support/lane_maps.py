"""The maps of the lane in plain memory, and what is true of them between two packets."""

from collections.abc import Callable, Iterator, Sequence

from appliance.ipc.admission_layout import (
    HOME,
    LINE,
    LINES_OF_POOL,
    LOOKUP,
    LOOKUP_TABLES,
    RING,
    RINGS,
    pools_of,
)
from appliance.ipc.lane_layout import DATAGRAM_CLIENTS, FLOW_BYTES, LATCH, LATCHES, OUTSIDE_SHARDS, SLOTS
from appliance.ipc.persistence_table import WORDS
from appliance.ipc.session_record import RECORD_BYTES, SessionRecord, decode
from appliance.sessions.lane import Lane
from appliance.state.lane_entry import each, flows_of
from appliance.state.session import Session


class FakeMaps:
    """As `edge` gives them, with a dict for the flows."""

    def __init__(self, entries: int = 16 * SLOTS, room: int = 1 << 20) -> None:
        """`room` is how many flows there may be."""
        self.entries = entries
        self.records = memoryview(bytearray(entries * RECORD_BYTES))
        self.changed = bytearray(entries)
        self.rings = memoryview(bytearray(RINGS * RING.size))
        self.outside = memoryview(bytearray(OUTSIDE_SHARDS))
        self.homes = memoryview(bytearray(entries * HOME.size))
        self.lines = memoryview(bytearray(pools_of(entries) * LINES_OF_POOL * LINE.size))
        self.latches = memoryview(bytearray(LATCHES * LATCH.size))
        self.datagram_clients = memoryview(bytearray(DATAGRAM_CLIENTS))
        self.remembered = memoryview(bytearray(8 * WORDS if entries else 0))
        self.lookup_tables = memoryview(bytearray(LOOKUP_TABLES * LOOKUP.size))
        self.refused_sources: dict[bytes, bytes] = {}
        self.table: dict[bytes, int] = {}
        self.waiting: dict[int, bytes] = {}
        """By entry: the packet that waits for the answer of a real server."""
        self.room = room

    def refuse_source(self, key: bytes, value: bytes) -> None:
        """Write it."""
        self.refused_sources[key] = value

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Nobody is at work."""
        assert is_done()

    def insert(self, flows: bytes, entries: Sequence[int]) -> list[int]:
        """Both flows of each entry, or neither."""
        assert len(flows) == 2 * FLOW_BYTES * len(entries)
        refused = []
        for place, entry in enumerate(entries):
            both = flows[2 * FLOW_BYTES * place :][: 2 * FLOW_BYTES]
            client_flow, server_flow = each(both)
            self.remove_flow(client_flow)
            self.remove_flow(server_flow)
            if len(self.table) + 2 > self.room:
                refused.append(entry)
            else:
                self.table |= {client_flow: 2 * entry, server_flow: 2 * entry + 1}
        return refused

    def add_flow(self, flow: bytes, value: int) -> bool:
        """Add one flow that is not there."""
        if flow in self.table or len(self.table) >= self.room:
            return False
        self.table[flow] = value
        return True

    def remove(self, flows: bytes) -> None:
        """Take out these flows."""
        for start in range(0, len(flows), FLOW_BYTES):
            self.remove_flow(flows[start : start + FLOW_BYTES])

    def remove_flow(self, flow: bytes) -> None:
        """Take out one flow."""
        self.table.pop(flow, None)

    def value_of(self, flow: bytes) -> int | None:
        """Its value."""
        return self.table.get(flow)

    def flows(self) -> Iterator[tuple[bytes, int]]:
        """All flows and their values."""
        return iter(list(self.table.items()))

    def take_proof(self, entry: int) -> bytes | None:
        """Take the packet of an entry that waits."""
        return self.waiting.pop(entry, None)

    def proofs(self) -> list[int]:
        """The entries whose packets wait."""
        return list(self.waiting)

    def record(self, entry: int) -> SessionRecord:
        """The record of an entry. Raises ValueError when it has none, or one that makes no sense."""
        return decode(bytes(self.records[entry * RECORD_BYTES : (entry + 1) * RECORD_BYTES]))

    def version(self, entry: int) -> int:
        """The version in a record: 0 when its entry has no session."""
        return int.from_bytes(self.records[entry * RECORD_BYTES : entry * RECORD_BYTES + 2], "little")


def check_lane(lane: Lane, maps: FakeMaps, sessions: list[Session]) -> None:
    """Check that each entry is free, resting or in use exactly once, and that records and flows are those of the sessions."""
    entries = lane.entries
    carried = {session.entry: session for session in sessions if session.entry is not None}
    owned = {
        entries.parts[slot].start + place: owner
        for slot, owners in entries.owners.items()
        for place, owner in enumerate(owners)
        if owner is not None
    }
    assert owned == carried, "whose the entries are"
    assert entries.in_use == len(owned), "how many entries are in use"
    free = [entry for part in entries._free.values() for entry in part]
    resting = [entry for _, entry in entries._resting]
    used_once = [start.start + place for slot, start in entries.parts.items() for place in range(len(entries.owners[slot]))]
    assert sorted([*free, *resting, *owned]) == used_once, "an entry is free, resting or in use"
    assert not any(maps.version(entry) for entry in {*free, *resting}), "an entry without a session has a record"
    expected = dict.fromkeys(lane.flows.reserved, 2 * lane.flows.reservation)
    for entry, session in carried.items():
        client_flow, server_flow = each(flows_of(session))
        expected |= {client_flow: 2 * entry, server_flow: 2 * entry + 1}
    assert maps.table == expected, "flows"
    assert not lane.held, "a session is held after its packet"
    for entry, session in carried.items():
        assert session.needs_slow_path, "what comes up from the lane takes the slow path"
        assert isinstance(session.words, memoryview), "the words are those of the record"
        _check_record(maps.record(entry), session)


def _check_record(record: SessionRecord, session: Session) -> None:
    words = session.words
    seen = (record.client_acked, record.client_next_seq, record.rs_acked, record.rs_next_seq)
    assert seen == (words[0], words[1], words[5], words[6]), "words"
    assert (record.isn, record.client_isn, record.cookie) == (session.isn, session.client_isn, session.cookie), "numbers"
    assert record.is_held or record.slot == session.real_server.slot, "the place of the real server"
    has_more = session.challenge is not None or session.late_fin is not None
    assert record.is_held or not has_more, "the kernel carries a session of which it does not know all"
    if record.is_held:
        assert record.state == session.state, "the state of a session that Python holds"
