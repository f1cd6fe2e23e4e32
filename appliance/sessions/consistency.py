"""Whether tables, pools and figures of a shard agree with each other and with the lane's maps, looked at piece by piece.

Each local endpoint has one holder (`sessions.holders`) or is free, and so has each entry of the lane. The flows of a session lead
to its entry, whose record names them; and no other flow leads to an entry of the shard. Nothing is changed or taken over.

Traffic may go on meanwhile. What is compared is compared in one step, and nothing of the shard moves during a step: the kernel
opens no session and puts no endpoint in line then. What else it moves, it moves in an order in which nothing looks wrong.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import chain, islice

from appliance.ipc.rows import Consistency
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES
from appliance.policy.steering import SLOT_MASK
from appliance.sessions.holders import HOLDERS, IN_USE, READY, RESTING, held_outside_tables
from appliance.sessions.lifecycle import Sessions
from appliance.state.lane_entry import each, flows_in, flows_of, is_session
from appliance.state.session import Session
from appliance.wire.flow import Direction
from appliance.wire.show import show_endpoint

_SESSIONS_AT_ONCE, _ENTRIES_AT_ONCE, _FLOWS_AT_ONCE = 1000, 128, 512
"""A millisecond's work, or two."""

_PROBLEMS_MAX = 20
"""How many are told in words."""

_PROTOCOL_AT, _FLOW_PROTOCOL_AT = OFFSETS["protocol"], 1


class ConsistencyCheck:
    """One look at a shard. `step` is called until it returns what has come of it."""

    def __init__(self, sessions: Sessions, shard: int) -> None:
        self._sessions, self._shard = sessions, shard
        self._lane = sessions.lane
        self._cells = sessions.lane.maps.records.cast("I")
        self._held = Counter[tuple[bytes, str]]()
        self._entries_used = self._without_client = self._flows = self._wrong = 0
        self._problems: list[str] = []
        self._steps = chain(self._look_at_tables(), self._look_at_entries(), self._look_at_flows(), self._look_at_sums())

    def step(self) -> Consistency | None:
        """Look at the next piece; None while there is more."""
        with ExitStack() as closed:
            for ring in self._sessions.prepared.rings:
                closed.enter_context(ring.closed())
            self._sessions.prepared.short.read()
            self._lane.publish_flows()
            is_over = next(self._steps, self) is self
        if not is_over:
            return None
        held: dict[str, dict[str, int]] = {}
        for (endpoint, holder), count in self._held.items():
            held.setdefault(show_endpoint(endpoint), dict.fromkeys(HOLDERS, 0))[holder] = count
        pools = (pool for protocol in ("tcp", "udp") for _, _, pool in self._sessions.local_ports(protocol))
        number = sum(map(len, self._lane.entries.parts.values()))
        entries = {"used": self._entries_used, "without_client": self._without_client, "free": number - self._entries_used}
        return Consistency(
            held, sum(pool.size - pool.in_use for pool in pools), entries, self._flows, self._wrong, self._problems
        )  # fmt: skip

    def _note(self, problem: str) -> None:
        self._wrong += 1
        if len(self._problems) < _PROBLEMS_MAX:
            self._problems.append(f"shard {self._shard}: {problem}")

    def _look_at_tables(self) -> Iterator[None]:
        """Each session in the tables has its own port, and its entry, if it has one."""
        owner, looked_at = self._lane.entries.owner, 0
        for table in (self._sessions.tcp, self._sessions.udp):
            for sessions in table.walk():
                looked_at += len(sessions)
                for session in sessions:
                    if session.entry is not None:
                        if owner(session.entry) is not session:
                            self._note(f"{_words(session)} has entry {session.entry}, which is not its own")
                        continue
                    self._held[session.real_server.endpoint, IN_USE] += 1
                    self._look_at_port(session, "in no entry")
                if looked_at >= _SESSIONS_AT_ONCE:
                    looked_at = 0
                    yield

    def _look_at_entries(self) -> Iterator[None]:
        """Each entry has one holder, or is free; and no two of them have the same endpoint."""
        for slot, part in self._lane.entries.parts.items():
            end = self._lane.entries.unused(slot).start
            for start in range(part.start, end, _ENTRIES_AT_ONCE):
                if start > part.start:
                    yield
                self._look_at_some(slot, range(start, min(end, start + _ENTRIES_AT_ONCE)))
            self._look_at_slot(slot, part)
            yield

    def _look_at_slot(self, slot: int, part: range) -> None:
        for entry in self._lane.entries_with_record(self._lane.entries.unused(slot)):
            self._note(f"entry {entry} was never used, and has a session record")
        holders = (held_in(self._sessions, part).values() for held_in in HOLDERS.values())
        flows = Counter((one.service.protocol, one.leaving_key(Direction.INBOUND)) for one in chain.from_iterable(holders))
        for (protocol, _), count in flows.items() if len(flows) < flows.total() else ():
            if count > 1:
                self._note(f"{count} entries of slot {slot} have the same local endpoint of {protocol}")

    def _look_at_some(self, slot: int, entries: range) -> None:
        free, times = self._lane.entries.free_in(slot, entries), Counter[int]()
        times.update(free)
        for holder, held_in in HOLDERS.items():
            for entry, session in held_in(self._sessions, entries).items():
                times[entry] += 1
                self._entries_used += 1
                self._held[session.real_server.endpoint, holder] += 1
                self._look_at_held(slot, entry, session, holder)
        for entry in entries:
            if times[entry] != 1:
                self._note(
                    f"entry {entry} is {f'held or free {times[entry]} times' if times[entry] else 'neither held nor free'}"
                )
        for entry in set(self._lane.entries_with_record(entries)).intersection(free):
            self._note(f"entry {entry} is free, and has a session record")

    def _look_at_held(self, slot: int, entry: int, session: Session, holder: str) -> None:
        who = f"entry {entry}, {holder}"
        self._look_at_port(session, who)
        if session.local_port & SLOT_MASK != slot:
            self._note(f"{who}: the local port of {_words(session)} is not of slot {slot}")
        is_one = is_session(self._cells, entry)  # before all else: the kernel writes it last
        client_flow, server_flow = self._flows_named_by(entry)
        expected: list[int | None] = [2 * entry, 2 * entry + 1]
        values = [self._lane.maps.value_of(client_flow), self._lane.maps.value_of(server_flow)]
        if holder == READY and not is_one:  # nobody has taken it
            expected = [None, None]
        elif holder == RESTING and not is_one and values[0] != expected[0]:  # its client has come again, and may have another
            expected[0] = values[0]
            self._without_client += 1
        elif not is_one:
            self._note(f"{who}: its record is that of no session")
        if values != expected:
            self._note(f"{who}: its flows lead to {', '.join(map(_place, values))}")
        own_client_flow, own_server_flow = each(flows_of(session))
        if server_flow != own_server_flow or (holder == IN_USE and client_flow != own_client_flow):
            self._note(f"{who}: its record is not that of {_words(session)}")

    def _flows_named_by(self, entry: int) -> tuple[bytes, bytes]:
        """Both flows that a record names."""
        protocol = bytes((self._lane.maps.records[entry * RECORD_BYTES + _PROTOCOL_AT],))
        first, second = each(flows_in(self._lane.maps.records, entry))
        before, behind = slice(_FLOW_PROTOCOL_AT), slice(_FLOW_PROTOCOL_AT + 1, None)
        return first[before] + protocol + first[behind], second[before] + protocol + second[behind]

    def _look_at_port(self, session: Session, who: str) -> None:
        pools = self._sessions.local_ports(session.service.protocol)
        if not pools.is_in_use(session.local_address, session.real_server.endpoint, session.local_port):
            self._note(f"{who}: the local port of {_words(session)} counts as free")

    def _look_at_flows(self) -> Iterator[None]:
        """Each flow leads to an entry that somebody holds, and whose record names it."""
        flows, parts, own_flows = self._lane.maps.flows(), self._lane.entries, self._lane.flows
        while some := list(islice(flows, _FLOWS_AT_ONCE)):
            for flow, value in some:
                is_left = value >> 1 == own_flows.reservation and flow not in own_flows.reserved
                if is_left and self._lane.maps.value_of(flow) == value:  # else its session has just come
                    self._note("a flow is reserved for no session")
            own = [(flow, value) for flow, value in some if parts.owns(value >> 1)]
            held = self._held_of({value >> 1 for _, value in own})
            for flow, value in own:
                self._flows += 1
                is_right = value >> 1 in held and self._flows_named_by(value >> 1)[value & 1] == flow
                if not is_right and self._lane.maps.value_of(flow) == value:  # else it has just gone
                    self._note(
                        f"a flow leads to {_place(value)}, which {'has another' if value >> 1 in held else 'nobody holds'}"
                    )
            yield

    def _held_of(self, entries: Collection[int]) -> set[int]:
        return set(chain.from_iterable(held_in(self._sessions, entries) for held_in in HOLDERS.values()))

    def _look_at_sums(self) -> Iterator[None]:
        """What is counted: with each holder's port in use, and as many ports as holders, no port is in use for nobody."""
        sessions, lane = self._sessions, self._lane
        others = held_outside_tables(sessions)
        for protocol, table, more in (("tcp", sessions.tcp, others), ("udp", sessions.udp, 0)):
            ports = sum(pool.held for _, _, pool in sessions.local_ports(protocol))
            self._compare(f"local ports of {protocol} in use", ports, len(table) + more)
        ready = sum(len(ring.tickets) for ring in sessions.prepared.rings) + len(sessions.prepared.short.spares)
        self._compare("prepared admissions", sessions.prepared.ready, ready)
        if not all(ring.is_in_step() for ring in sessions.prepared.rings):
            self._note("a ring has other tickets than its shard has put there")
        counted = len(sessions) + others - ready
        self._compare("sessions by state", sum(sessions.by_state.counts), counted)
        self._compare("entries in use", lane.entries.in_use, lane.entries.counted)
        yield

    def _compare(self, what: str, said: int, counted: int) -> None:
        if said != counted:
            self._note(f"{what}: {said}, and {counted} are there")


def _words(session: Session) -> str:
    return f"the session of {session.service.name} with {show_endpoint(session.real_server.endpoint)}"


def _place(value: int | None) -> str:
    return "nothing" if value is None else f"entry {value >> 1}"
