"""nat/lport.py: no port is handed out twice and none is lost, in any order and after any change of the range."""

from array import array

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.nat.lport import LocalPort, LocalPortPool, LocalPorts

LIP, OTHER_LIP, RS, OTHER_RS = b"\xc0\0\2\x0a", b"\xc0\0\2\x0b", b"\xc0\0\2\x65\x1f\x90", b"\xc0\0\2\x66\x1f\x90"


def take(pool: LocalPortPool, tries: int) -> int | None:
    """The number of the port alone."""
    local = pool.acquire(tries)
    return None if local is None else local.port


def ports(low: int, high: int) -> "array[int]":
    return array("H", range(low, high + 1))


def test_the_same_port_serves_several_real_servers_and_addresses() -> None:
    local_ports = LocalPorts(ports(5000, 5000))
    taken = [local_ports.acquire(lip, rs, 10) for lip in (LIP, OTHER_LIP) for rs in (RS, OTHER_RS)]
    assert taken == [LocalPort(5000, None)] * 4
    assert local_ports.acquire(LIP, RS, 10) is None
    local_ports.release(LIP, RS, 5000, last_seq=7)
    assert local_ports.acquire(LIP, RS, 10) == LocalPort(5000, last_seq=7)


def test_a_port_is_unused_for_as_long_as_the_range_allows() -> None:
    pool = LocalPortPool(ports(5000, 5003))
    order = []
    for _ in range(6):
        port = take(pool, 10)
        assert port is not None
        order.append(port)
        pool.release(port, 0)
    assert order == [5000, 5001, 5002, 5003, 5000, 5001]


def test_tries_bounds_how_many_ports_are_looked_at() -> None:
    pool = LocalPortPool(ports(5000, 5099))
    for _ in range(100):
        pool.acquire(10)
    pool.release(5020, 0)  # the search begins at the end of the range, so this would be the 21st port
    assert take(pool, 20) is None
    assert take(pool, 21) == 5020


def test_the_search_for_a_free_port_continues_at_the_start_of_the_range() -> None:
    pool = LocalPortPool(ports(5000, 5009))
    for _ in range(8):
        pool.acquire(10)
    pool.release(5001, 0)
    assert take(pool, 1) == 5008
    assert take(pool, 1) == 5009
    assert take(pool, 1) is None
    assert take(pool, 2) == 5001


class PoolMachine(RuleBasedStateMachine):
    """Any order of taking and releasing ports and changing the range, compared with a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.range = (5000, 5007)
        self.pool = LocalPortPool(ports(*self.range))
        self.held: set[int] = set()
        self.last_seqs: dict[int, int] = {}

    @property
    def free(self) -> set[int]:
        return set(range(self.range[0], self.range[1] + 1)) - self.held

    @rule()
    def acquire(self) -> None:
        local = self.pool.acquire(60000)
        assert (local is None) == (not self.free)
        if local is not None:
            assert local.port in self.free
            assert local.last_seq == self.last_seqs.get(local.port)
            self.held.add(local.port)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), last_seq=st.integers(0, 2**32 - 1))
    def release(self, data: st.DataObject, last_seq: int) -> None:
        port = data.draw(st.sampled_from(sorted(self.held)))
        self.held.remove(port)
        self.pool.release(port, last_seq)
        if self.range[0] <= port <= self.range[1]:
            self.last_seqs[port] = last_seq

    @rule(low=st.integers(4996, 5004), size=st.integers(0, 10))
    def change_range(self, low: int, size: int) -> None:
        self.range = (low, low + size)
        self.last_seqs = {port: seq for port, seq in self.last_seqs.items() if low <= port <= low + size}
        self.pool.change_range(ports(*self.range))

    @invariant()
    def counts_what_is_in_use_in_the_range(self) -> None:
        assert self.pool.in_use == len(self.held & set(range(self.range[0], self.range[1] + 1)))


TestPool = PoolMachine.TestCase


@given(st.integers(1, 50), st.integers(1, 60))
def test_every_port_of_the_range_is_handed_out_exactly_once(size: int, tries: int) -> None:
    pool = LocalPortPool(ports(6000, 6000 + size - 1))
    assert sorted(take(pool, tries) or 0 for _ in range(size)) == list(range(6000, 6000 + size))
    assert take(pool, tries) is None
