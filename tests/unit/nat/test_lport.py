"""nat/lport.py: no port is handed out twice and none is lost, in any order and after any change of the range."""

from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.nat.lport import LocalPort, LocalPortPool, LocalPorts, draws

KEY = b"key"
LIP, OTHER_LIP, RS, OTHER_RS = b"\xc0\0\2\x0a", b"\xc0\0\2\x0b", b"\xc0\0\2\x65\x1f\x90", b"\xc0\0\2\x66\x1f\x90"


def take(pool: LocalPortPool, tries: int) -> int | None:
    """The number of the port alone."""
    local = pool.acquire(tries)
    return None if local is None else local.port


def ports(low: int, high: int) -> "array[int]":
    return array("H", range(low, high + 1))


def pool_of(low: int, high: int, key: bytes = KEY) -> LocalPortPool:
    return LocalPortPool(ports(low, high), draws(key))


def test_the_same_port_serves_several_real_servers_and_addresses() -> None:
    local_ports = LocalPorts(ports(5000, 5000), KEY)
    taken = [local_ports.acquire(lip, rs, 10) for lip in (LIP, OTHER_LIP) for rs in (RS, OTHER_RS)]
    assert taken == [LocalPort(5000, None)] * 4
    assert local_ports.acquire(LIP, RS, 10) is None
    local_ports.release(LIP, RS, 5000, last_seq=7)
    assert local_ports.acquire(LIP, RS, 10) == LocalPort(5000, last_seq=7)


def in_turn(pool: LocalPortPool, count: int) -> list[int]:
    """The ports of so many connections, each of which ends before the next one begins."""
    given_: list[int] = []
    for _ in range(count):
        port = take(pool, 60_000)
        assert port is not None
        given_.append(port)
        pool.release(port, 0)
    return given_


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1001])
@pytest.mark.parametrize("key", [b"a", b"b"])
def test_a_port_is_unused_for_at_least_half_as_long_as_the_range_allows(size: int, key: bytes) -> None:
    """As many connections as half of the range has ports begin before a port is used again, and all ports are used."""
    taken = in_turn(pool_of(5000, 5000 + size - 1, key), 20 * size)
    assert set(taken) == set(range(5000, 5000 + size))
    last_used: dict[int, int] = {}
    for turn, port in enumerate(taken):
        assert turn - last_used.get(port, -size) >= size // 2
        last_used[port] = turn


def test_whoever_knows_all_earlier_ports_cannot_foresee_the_next() -> None:
    """Of the ports that have rested longest, as many as half of the range has, each is as likely as any other. So a guess is
    right once in so many times, and none of the usual guesses is right more often."""
    size = 400
    taken = in_turn(pool_of(5000, 5000 + size - 1), 60 * size)
    last_turns = dict.fromkeys(range(5000, 5000 + size), -1)
    came_after: dict[int, int] = {}
    ranks, right = Counter[int](), Counter[str]()
    for turn, port in enumerate(taken):
        if turn > 2 * size:
            by_rest, last = sorted(last_turns, key=last_turns.__getitem__), taken[turn - 1]
            ranks[by_rest.index(port) * 8 // (size // 2)] += 1
            guesses = {
                "the next one": last + 1,
                "the same step again": 2 * last - taken[turn - 2],
                "what came after this one before": came_after.get(last),
                "the one that rested longest": by_rest[0],
            }
            right.update(name for name, guess in guesses.items() if guess == port)
        came_after[taken[turn - 1]] = port
        last_turns[port] = turn
    counted = sum(ranks.values())
    assert set(ranks) == set(range(8)), "none of the younger half"
    assert all(0.9 * counted / 8 < count < 1.1 * counted / 8 for count in ranks.values())
    assert all(count < 2 * counted / (size // 2) for count in right.values())


def test_other_keys_draw_other_ports() -> None:
    assert len({tuple(in_turn(pool_of(5000, 9000, key), 8)) for key in (b"a", b"b", b"c")}) == 3


def test_also_few_free_ports_among_many_are_drawn() -> None:
    """Each of ten free ports among 990 in use comes next about as often as the others."""
    pool = pool_of(5000, 5999)
    held = [take(pool, 60_000) for _ in range(1000)]
    for port in held[::100]:
        assert port is not None
        pool.release(port, 0)
    counted = Counter(in_turn(pool, 2000))
    assert set(counted) == set(held[::100])
    assert min(counted.values()) > 100


def test_tries_bounds_how_many_ports_are_looked_at() -> None:
    pool = pool_of(5000, 5099)
    held = [take(pool, 100) for _ in range(100)]
    last, behind = held[-1], held[19]
    assert behind is not None
    pool.release(behind, 0)  # the search begins behind the last one, so this is the twentieth port
    assert take(pool, 19) is None
    assert take(pool, 20) == behind != last


def test_a_port_is_taken_by_its_number_when_it_is_free() -> None:
    pool = pool_of(5000, 5009)
    held = [take(pool, 10) for _ in range(10)]
    assert pool.acquire_port(5003) is None
    pool.release(5003, 7)
    assert pool.acquire_port(5003) == LocalPort(5003, 7)
    assert pool.acquire_port(5003) is pool.acquire_port(4999) is pool.acquire_port(5010) is None
    assert pool.in_use == len(set(held)) == 10


def test_a_port_is_adopted_once_between_the_same_two() -> None:
    local_ports = LocalPorts(ports(5000, 5000), KEY)
    assert [local_ports.adopt(LIP, RS, 5000), local_ports.adopt(LIP, RS, 5000), local_ports.adopt(LIP, OTHER_RS, 9)] == [1, 0, 1]
    assert local_ports.acquire(LIP, RS, 10) is None
    local_ports.release(LIP, RS, 5000, 7)
    local_ports.release(LIP, OTHER_RS, 9, 7)
    assert local_ports.acquire(LIP, RS, 10) == LocalPort(5000, 7)
    assert local_ports.in_use(LIP, OTHER_RS) == 0


class PoolMachine(RuleBasedStateMachine):
    """Any order of taking and releasing ports and changing the range, compared with a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.range = (5000, 5007)
        self.pool = pool_of(*self.range)
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

    @precondition(lambda self: self.free)
    @rule(data=st.data())
    def acquire_port(self, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(sorted(self.free)))
        assert self.pool.acquire_port(port) == LocalPort(port, self.last_seqs.get(port))
        self.held.add(port)

    @rule(port=st.integers(4990, 5019))
    def adopt(self, port: int) -> None:
        assert self.pool.adopt(port) == (port not in self.held)
        self.held.add(port)

    @invariant()
    def knows_which_ports_are_in_use(self) -> None:
        assert {port for port in range(4990, 5020) if self.pool.is_in_use(port)} == self.held

    @invariant()
    def counts_what_is_in_use_in_the_range(self) -> None:
        assert self.pool.in_use == len(self.held & set(range(self.range[0], self.range[1] + 1)))


TestPool = PoolMachine.TestCase


@given(st.integers(1, 50), st.integers(1, 60))
def test_every_port_of_the_range_is_handed_out_exactly_once(size: int, tries: int) -> None:
    pool = pool_of(6000, 6000 + size - 1)
    assert sorted(take(pool, tries) or 0 for _ in range(size)) == list(range(6000, 6000 + size))
    assert take(pool, tries) is None
