"""What is true of the local endpoints and entries of a shard that prepares admissions, between two packets."""

from collections import Counter
from collections.abc import Iterator

from appliance.ipc.admission_layout import GONE, LINE_PLACES
from appliance.ipc.rows import Consistency
from appliance.ipc.session_record import RECORD_BYTES
from appliance.sessions.consistency import ConsistencyCheck
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.pools import _HEAD, _PLACES, _TAIL
from appliance.sessions.ring import Ticket
from appliance.sessions.short_lived import ShortLived
from appliance.state.lane_entry import CELLS, HELD_CELL, each, flows_in, flows_of, is_session
from appliance.state.progress import RS_ACKED


def check_endpoints(sessions: Sessions) -> None:
    """Check that each entry and each local endpoint is that of one session in the tables, ready, young or resting, or else free;
    and that the flows in the lane are those of sessions. Nothing may be at work meanwhile."""
    lane, short = sessions.lane, sessions.prepared._short
    in_tables = [session for bucket in sessions.tcp.walk() for session in bucket]
    short.read()
    lane.publish_flows()
    ready = [ticket for ring in sessions.prepared._active for ticket in ring.tickets]
    ready += short.spares.tickets.values()
    young, resting = list(short._young.values()), list(short._resting.tickets.values())
    carried = [session.entry for session in in_tables if session.entry is not None]
    used = Counter([*carried, *(ticket.entry for ticket in (*ready, *young, *resting))])
    assert set(used.values()) <= {1}, "whose an entry is"
    free = [entry for part in lane.entries._free.values() for entry in part]
    waiting = [entry for _, entry in lane.entries._resting]
    known = {part.start + place for slot, part in lane.entries.parts.items() for place in range(len(lane.entries.owners[slot]))}
    assert Counter([*used, *free, *waiting]) == Counter(known), "an entry is used, waits, or is free"
    assert lane.entries.in_use == len(used)
    _check_ports(sessions, ready, young, resting)
    expected = dict[bytes, int]()
    for entry, flows in (
        *((session.entry, flows_of(session)) for session in in_tables if session.entry is not None),
        *((ticket.entry, flows_in(lane.maps.records, ticket.entry)) for ticket in (*young, *resting)),
    ):
        client_flow, server_flow = each(flows)
        expected |= {server_flow: 2 * entry + 1}
        if is_session(lane.maps.records.cast("I"), entry) or entry not in short._resting.tickets:
            expected |= {client_flow: 2 * entry}  # else its client has come again
    reserved = dict.fromkeys(lane.flows.reserved, 2 * lane.flows.reservation)
    assert dict(lane.maps.flows()) == expected | reserved, "flows"
    assert all(lane.maps.records[entry * RECORD_BYTES] == 0 for entry in (*free, *waiting)), "a record of a free entry"
    assert all(ticket is short._resting.tickets[ticket.entry] for ticket in resting)
    cells = lane.maps.records.cast("I")
    held = {entry for entry in (ticket.entry for ticket in (*young, *resting)) if cells[entry * CELLS + HELD_CELL]}
    assert held == {ticket.entry for ticket in resting}, "the kernel has those that are young, and none of those that rest"
    _check_pools(short)
    found = consistency_of(sessions)
    assert found.problems == [], "a shard is consistent, and says so"
    assert found.entries["used"] == len(used)
    assert found.flows == len(expected)
    assert found.entries["without_client"] == 2 * (len(used) - len(ready)) - len(expected)
    endpoints_held = sum(sum(counts.values()) for counts in found.held.values())
    assert endpoints_held == len(in_tables) + len(sessions.udp) + len(ready) + len(young) + len(resting)


def _check_pools(short: ShortLived) -> None:
    """Each endpoint that rests is leaving, or stands in one place of a line; each young one belongs to a pool."""
    rest, standing = short._resting, Counter[int]()
    for pool in rest.pools.values():
        for line in pool.lines:
            numbers = range(line._longs[_HEAD], line._longs[_TAIL])
            places = [line._longs[_PLACES + number % LINE_PLACES] & 0xFFFFFFFF for number in numbers]
            standing += Counter(entry for entry in places if entry != GONE)
    assert set(standing.values()) <= {1}, "an endpoint stands in one place"
    assert standing.keys() | rest.leaving.keys() == rest.tickets.keys() | short.spares.tickets.keys()
    assert not standing.keys() & rest.leaving.keys()
    of_pools = Counter(
        rest.pools[ticket.session.real_server].number
        for entry, ticket in (*short._young.items(), *rest.tickets.items(), *short.spares.tickets.items())
        if entry not in rest.leaving
    )
    assert of_pools == Counter({pool.number: pool.size for pool in rest.pools.values()}), "sizes of pools"
    assert not any(pool.too_early for pool in rest.pools.values())


def consistency_of(sessions: Sessions) -> Consistency:
    """What the shard says itself (`sessions.consistency`)."""
    check = ConsistencyCheck(sessions, 0)
    while (found := check.step()) is None:
        pass
    return found


def _check_ports(sessions: Sessions, *tickets: list[Ticket]) -> None:
    wanted = Counter[bytes](session.leaving_key(0) for bucket in sessions.tcp.walk() for session in bucket)
    wanted += Counter(ticket.session.leaving_key(0) for some in tickets for ticket in some)
    assert set(wanted.values()) <= {1}, "two sessions have the same local endpoint"
    in_use = sum(pool.in_use + len(pool._outside) for _, _, pool in sessions.local_ports("tcp"))
    assert in_use == len(wanted), "local ports in use"


def last_numbers(sessions: Sessions) -> Iterator[tuple[bytes, int]]:
    """The local endpoints that rest, each with the last number that its real server has acknowledged."""
    for entry, ticket in sessions.prepared._short._resting.tickets.items():
        yield ticket.session.leaving_key(0), sessions.lane.words(entry)[RS_ACKED]
