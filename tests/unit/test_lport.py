"""nat/lport.py: no port twice, none lost, whatever the order and however the range changes."""

from array import array

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.nat.lport import LocalPortPool, LocalPorts

LIP, OTHER_LIP, RS, OTHER_RS = b"\xc0\0\2\x0a", b"\xc0\0\2\x0b", b"\xc0\0\2\x65\x1f\x90", b"\xc0\0\2\x66\x1f\x90"


def ports(low: int, high: int) -> "array[int]":
    return array("H", range(low, high + 1))


def test_the_same_port_serves_several_real_servers_and_addresses() -> None:
    local_ports = LocalPorts(ports(5000, 5000))
    taken = [local_ports.acquire(lip, rs, 10) for lip in (LIP, OTHER_LIP) for rs in (RS, OTHER_RS)]
    assert taken == [5000] * 4
    assert local_ports.acquire(LIP, RS, 10) is None
    local_ports.release(LIP, RS, 5000)
    assert local_ports.acquire(LIP, RS, 10) == 5000


def test_a_port_rests_as_long_as_the_range_allows() -> None:
    pool = LocalPortPool(ports(5000, 5003))
    order = []
    for _ in range(6):
        port = pool.acquire(10)
        assert port is not None
        order.append(port)
        pool.release(port)
    assert order == [5000, 5001, 5002, 5003, 5000, 5001]


def test_tries_bounds_how_many_ports_are_looked_at() -> None:
    pool = LocalPortPool(ports(5000, 5099))
    for _ in range(100):
        pool.acquire(10)
    pool.release(5020)  # the cursor stands at the end, so this is the 21st port that would be looked at
    assert pool.acquire(20) is None
    assert pool.acquire(21) == 5020


def test_tries_go_around_the_end() -> None:
    pool = LocalPortPool(ports(5000, 5009))
    for _ in range(8):
        pool.acquire(10)
    pool.release(5001)
    assert pool.acquire(1) == 5008
    assert pool.acquire(1) == 5009
    assert pool.acquire(1) is None
    assert pool.acquire(2) == 5001


class PoolMachine(RuleBasedStateMachine):
    """Any order of taking, giving back and changing the range, beside a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.range = (5000, 5007)
        self.pool = LocalPortPool(ports(*self.range))
        self.held: set[int] = set()

    @property
    def free(self) -> set[int]:
        return set(range(self.range[0], self.range[1] + 1)) - self.held

    @rule()
    def acquire(self) -> None:
        port = self.pool.acquire(60000)
        assert (port is None) == (not self.free)
        if port is not None:
            assert port in self.free
            self.held.add(port)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(sorted(self.held)))
        self.held.remove(port)
        self.pool.release(port)

    @rule(low=st.integers(4996, 5004), size=st.integers(0, 10))
    def change_range(self, low: int, size: int) -> None:
        self.range = (low, low + size)
        self.pool.change_range(ports(*self.range))

    @invariant()
    def counts_what_is_in_use_in_the_range(self) -> None:
        assert self.pool.in_use == len(self.held & set(range(self.range[0], self.range[1] + 1)))


TestPool = PoolMachine.TestCase


@given(st.integers(1, 50), st.integers(1, 60))
def test_every_port_of_the_range_is_handed_out_exactly_once(size: int, tries: int) -> None:
    pool = LocalPortPool(ports(6000, 6000 + size - 1))
    assert sorted(pool.acquire(tries) or 0 for _ in range(size)) == list(range(6000, 6000 + size))
    assert pool.acquire(tries) is None
