"""source_hash.py: an address stays where it is, whatever becomes of others."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.policy.schedulers.source_hash import SourceHash
from tests.support.candidates import Server, client_key, servers, setup

CLIENTS = range(3000)


def owners(candidates: tuple[Server, ...], shard: int = 0) -> list[bytes]:
    """The endpoint that each client goes to."""
    scheduler = SourceHash(setup(shard))
    found = (scheduler.pick(candidates, client_key(number), 0.0) for number in CLIENTS)
    return [server.endpoint for server in found if server]


def moved(before: list[bytes], after: list[bytes]) -> set[tuple[bytes, bytes]]:
    """From where and whereto clients have moved."""
    return {(old, new) for old, new in zip(before, after, strict=True) if old != new}


def test_shares_are_those_of_the_weights() -> None:
    candidates = servers(40, 40, 20)
    shares = Counter(owners(candidates))
    assert [shares[server.endpoint] / len(CLIENTS) for server in candidates] == pytest.approx([0.4, 0.4, 0.2], abs=0.03)


def test_the_order_of_real_servers_and_the_shard_make_no_difference() -> None:
    candidates = servers(1, 2, 3, 4, 5)
    assert owners(candidates) == owners(candidates[::-1]) == owners(candidates, shard=7)


def test_a_common_factor_of_all_weights_makes_no_difference() -> None:
    assert owners(servers(1, 2, 3)) == owners(servers(100, 200, 300))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.data())
@settings(max_examples=15)
def test_clients_move_only_from_the_one_that_loses_and_only_to_the_one_that_gains(
    weights: list[int], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(weights) - 1))
    candidates, raised, gone = servers(*weights), servers(*weights), servers(*weights)
    raised[index].weight += data.draw(st.integers(1, 9))
    gone[index].weight = 0
    before, one = owners(candidates), candidates[index].endpoint
    assert {new for _, new in moved(before, owners(raised))} <= {one}
    assert {old for old, _ in moved(before, owners(gone))} == {one}
    assert moved(before, owners(servers(*weights, 3))), "some move to another real server"
    assert {new for _, new in moved(before, owners(servers(*weights, 3)))} == {servers(*weights, 3)[-1].endpoint}


def test_the_buckets_of_one_that_goes_are_spread_over_all_others() -> None:
    candidates = servers(1, 1, 1, 1)
    before, after = owners(candidates), owners(candidates[1:])
    went = Counter(new for old, new in zip(before, after, strict=True) if old == candidates[0].endpoint)
    assert set(went) == {server.endpoint for server in candidates[1:]}


def test_addresses_that_are_known_to_go_there_still_go_there() -> None:
    """Pinned: a change of this would send clients elsewhere at an upgrade."""
    scheduler, candidates = SourceHash(setup()), servers(1, 1, 1)
    found = [scheduler.pick(candidates, client_key(number), 0.0) for number in range(12)]
    assert [candidates.index(server) for server in found if server] == PINNED


PINNED = [2, 2, 2, 2, 1, 0, 1, 1, 0, 1, 0, 1]
