"""state/session_table.py compared with one plain dict, and the purpose of its many small ones."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.model.counters import DESTINATION_FIELDS
from appliance.state.by_state import ByState
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_table import BUCKET_SHIFT, BUCKETS, SessionTable
from appliance.wire.flow import Direction, flow_key, reverse_key
from tests.support.addresses import CLIENT, RS1, VIP
from tests.support.session_tables import ALONE

LOCAL_ADDRESS = bytes((192, 0, 2, 10))


def service() -> VirtualService[Session]:
    plan = ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), (RealServerPlan("192.0.2.101", 8080, 1, 0),))
    return VirtualService(plan, lambda _slot: memoryview(array("Q", [0] * len(DESTINATION_FIELDS))), ByState(0.0), ALONE)


def session_at(owner: VirtualService[Session], port: int) -> Session:
    client, local = CLIENT[:4] + port.to_bytes(2, "big"), LOCAL_ADDRESS + port.to_bytes(2, "big")
    return Session(owner, owner.real_servers[0], flow_key(client, VIP), flow_key(local, RS1), 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=100))
def test_the_table_finds_what_a_plain_dict_finds_by_both_keys(steps: list[tuple[bool, int]]) -> None:
    owner, table, known = service(), SessionTable(), dict[int, Session]()
    most = 0
    for insert, port in steps:
        if insert and port not in known:
            known[port] = session_at(owner, port)
            table.insert(known[port])
        elif not insert and port in known:
            table.remove(known.pop(port))
        most = max(most, len(known))
        assert (len(table), table.most) == (len(known), most)
        assert sum(owner.by_state.counts) == len(known)
    for port in range(1, 41):
        session = session_at(owner, port)
        assert table.find(session.client_key) == (known.get(port), Direction.INBOUND)
        there = known.get(port)
        assert table.find(session.server_key) == (there, Direction.OUTBOUND if there else Direction.INBOUND)
        assert table.find(reverse_key(session.client_key)) == (None, Direction.INBOUND)
    assert {id(session) for bucket in table.walk() for session in bucket} == set(map(id, known.values()))


def test_every_hash_has_a_bucket_and_keys_are_spread_over_all_of_them() -> None:
    assert {hash_ >> BUCKET_SHIFT for hash_ in (-(2**63), -1, 0, 2**63 - 1)} <= set(range(-BUCKETS // 2, BUCKETS // 2))
    owner, table = service(), SessionTable()
    for port in range(1, 20 * BUCKETS + 1):
        table.insert(session_at(owner, port))
    for half in table.by_direction:
        fullest = max(map(len, half))
        assert all(half), "with twenty a bucket, an empty one comes up once in a million tables"
        assert fullest < 80, "four times the average would be a bad hash"


def test_a_walk_has_the_sessions_that_are_in_a_bucket_when_it_reads_it() -> None:
    """A walk meets each session that is there from beginning to end once, whatever comes and goes."""
    owner, table = service(), SessionTable()
    old = [session_at(owner, port) for port in range(1, 2001)]
    for session in old:
        table.insert(session)
    met: list[Session] = []
    for number, bucket in enumerate(table.walk()):
        met += bucket
        if number == BUCKETS // 2:
            for session in old[:1000]:
                table.remove(session)
            for port in range(2001, 3001):
                table.insert(session_at(owner, port))
    ids = list(map(id, met))
    assert len(ids) == len(set(ids))
    assert set(map(id, old[1000:])) <= set(ids)
