"""ticket_load.py: a load whose connections come, stay and end as it says, and figures that are right."""

from random import Random

import pytest

from tests.support.ticket_load import TicketLoad, scene


def load(*weights: int, shards: int = 1, **tunables: int) -> TicketLoad:
    return TicketLoad([scene("rr", weights, shard=shard, shards=shards) for shard in range(shards)], **tunables)


def test_as_many_come_as_are_to_come_and_each_ends() -> None:
    scene = load(1, 1)
    outcome = scene.run(500, 2, (0.5, 0.5), Random(1))
    assert scene.opened == pytest.approx(1000, rel=0.15)
    assert outcome.by_kernel == scene.by_kernel / scene.opened > 0.9
    assert sum(scene.open()) == pytest.approx(500 * (0.8 * 0.05 + 0.2 * 2 * (1 - 2.718**-1)), rel=0.3)
    scene._end_until(1e9)
    assert scene.open() == [0, 0]


def test_the_distance_is_that_from_the_share() -> None:
    assert load(1).run(100, 1, (1.0,), Random(1))[1:3] == (0, 0)
    wrong = load(1, 0).run(100, 1, (0.5, 0.5), Random(1))
    assert wrong.most >= wrong.mean > 5


def test_shards_share_the_load_and_what_is_open_is_that_of_all() -> None:
    scene = load(1, 1, shards=2)
    keys = [scene.put_syn(number % 2) for number in range(8)]
    assert scene.open() == [4, 4]
    assert [len(world.sessions()) for world in scene.worlds] == [4, 4]
    scene.end(keys[1], 1)
    assert sum(scene.open()) == 7


def test_it_can_be_without_admissions() -> None:
    assert load(1, prepared_admissions=0).run(100, 1, (1.0,), Random(1)).by_kernel == 0
