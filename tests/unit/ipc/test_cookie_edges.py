"""cookie_edges.py: who answers with SYN cookies at this moment."""

from appliance.ipc.cookie_edges import end_engagements, has_engaged
from tests.support.gateway import shared_state


def test_a_shard_counts_though_the_first_real_server_of_the_service_is_another_one_by_now() -> None:
    """It began in the slot of one real server, and stopped in that of another one."""
    shared = shared_state(shards=1, destinations=3)
    shared.cookie_edges(0, 0)[0] = shared.cookie_edges(0, 1)[1] = 1
    assert not has_engaged(shared, (0, 1))
    shared.cookie_edges(0, 1)[0] = 1
    assert has_engaged(shared, (0, 1))
    assert not has_engaged(shared, (2,))


def test_one_shard_that_has_stopped_more_often_says_nothing_of_another_one() -> None:
    shared = shared_state(shards=2, destinations=1)
    shared.cookie_edges(0, 0)[1] = 5
    shared.cookie_edges(1, 0)[0] = 1
    assert has_engaged(shared, (0,))


def test_a_worker_that_died_while_it_answered_with_cookies_does_so_no_more() -> None:
    shared = shared_state(shards=2, destinations=2)
    shared.cookie_edges(0, 1)[0] = 2
    shared.cookie_edges(1, 1)[0] = 1
    end_engagements(shared, 0)
    assert has_engaged(shared, (1,)), "of the other worker nothing is known"
    end_engagements(shared, 1)
    assert not has_engaged(shared, (1,))
    assert [shared.cookie_edges(shard, 1).tolist() for shard in range(2)] == [[2, 2], [1, 1]]
    shared.cookie_edges(0, 1)[1] = 3
    end_engagements(shared, 0)
    assert shared.cookie_edges(0, 1).tolist() == [2, 3]
