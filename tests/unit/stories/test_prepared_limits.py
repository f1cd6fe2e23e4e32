"""Prepared admissions of services and real servers that may have so many sessions and no more."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.verdict import Verdict
from tests.support.addresses import VIP
from tests.support.segments import tcp
from tests.support.ticket_load import LOOK_S, TicketLoad, scene


def load(scheduler: str = "rr", shards: int = 1, **settings: Any) -> TicketLoad:
    return TicketLoad([scene(scheduler, (1, 1), shard=shard, shards=shards, **settings) for shard in range(shards)], entries=1024)


def prepare(load: TicketLoad, missed: int, shard: int = 0) -> int:
    """Have some ready in a shard, as behind so many SYNs that came up; returns how many."""
    for _ in range(missed):
        load.worlds[shard].inside.prepared.miss(load.service(shard))
    look(load)
    return load.kernels[shard].ready


def look(load: TicketLoad) -> None:
    for world in load.worlds:
        world.now += LOOK_S
        world.shard.publish_counts()
    load.look()


def comes_up(load: TicketLoad, number: int, shard: int = 0) -> Verdict:
    """A SYN that the kernel leaves to the shard, whatever is ready."""
    return load.worlds[shard].put(tcp(bytes((198, 51, 100, 7)) + number.to_bytes(2, "big"), VIP, "S", seq=number))


LIMITS = pytest.mark.parametrize(
    "limits", [{"max_conn": 80}, {"most": (40, 40)}, {"max_conn": 80, "most": (60, 60)}], ids=["service", "real servers", "both"]
)


@LIMITS
@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_limit_is_exact_whoever_opens(scheduler: str, limits: dict[str, Any], shards: int) -> None:
    scene = load(scheduler, shards=shards, **limits)
    keys = list[tuple[bytes, int]]()
    for number in range(120):
        shard = number % shards
        keys.append((scene.put_syn(shard), shard))
        if number % 4 == 0:
            look(scene)
        assert sum(scene.open()) + sum(scene.ready()) <= 80
    assert sum(scene.open()) == 80
    assert scene.by_kernel > 20
    assert sum(scene.ready()) == 0
    for key, shard in keys[:60]:
        scene.end(key, shard)
    before = scene.by_kernel
    for number in range(100):
        scene.put_syn(number % shards)
        look(scene)
    assert sum(scene.open()) == 80
    assert scene.by_kernel > before + 5


@given(
    st.integers(1, 3),
    st.sampled_from([{"max_conn": 20}, {"most": (10, 12)}, {"max_conn": 40, "most": (15, 30)}]),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=150),
)
@settings(max_examples=30)
def test_no_order_of_things_lets_one_too_many_in(shards: int, limits: dict[str, Any], steps: list[tuple[int, int]]) -> None:
    """SYNs that the kernel may take and others, looks, ends and clients that are missed, each in any shard."""
    scene = load("wlc", shards=shards, **limits)
    most = limits.get("max_conn") or sum(limits["most"])
    keys = list[tuple[bytes, int]]()
    for number, (what, where) in enumerate(steps):
        shard = where % shards
        if what == 0:
            keys += [(scene.put_syn(shard), shard) for _ in range(3)]
        elif what == 1:
            comes_up(scene, number, shard)
        elif what == 2:
            prepare(scene, 10, shard)
        elif what == 3 and keys:
            scene.end(*keys.pop(where % len(keys)))
        else:
            scene.worlds[shard].now += LOOK_S
            scene.worlds[shard].shard.reconcile(1000, scene.worlds[shard].now)
        assert sum(scene.open()) + sum(scene.ready()) <= most
        for opened, ready, each in zip(scene.open(), scene.ready(), scene.service().real_servers, strict=True):
            assert opened + ready <= (each.max_conn or most)


def test_what_is_ready_in_one_shard_counts_in_another() -> None:
    """Which does not wait until the first one looks."""
    scene = load(shards=2, max_conn=80)
    assert prepare(scene, 10) == 10
    opened = [comes_up(scene, number, shard=1) for number in range(100)]
    assert opened.count(verdicts.TO_REAL_SERVER) == 70
    assert opened.count(verdicts.SERVICE_FULL) == 30
    for _ in range(30):
        scene.put_syn()
    assert (scene.by_kernel, sum(scene.open())) == (10, 80)


def test_a_shard_gives_up_what_is_ready_when_another_one_has_opened_many() -> None:
    scene = load(shards=2, max_conn=80)
    assert prepare(scene, 10) == 10
    assert [comes_up(scene, number, shard=1) for number in range(71)].count(verdicts.TO_REAL_SERVER) == 70
    look(scene)
    assert sum(scene.ready()) == 1
    assert [comes_up(scene, number, shard=1) for number in range(100, 110)].count(verdicts.TO_REAL_SERVER) == 9
    look(scene)
    assert comes_up(scene, 110, shard=1) is verdicts.TO_REAL_SERVER
    assert comes_up(scene, 111, shard=1) is verdicts.SERVICE_FULL


def test_one_that_is_taken_at_the_moment_of_a_syn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one that was ready, when it can not be taken back any more, and its session is in no table yet."""
    scene = load(max_conn=4)
    assert prepare(scene, 10) == 1
    for number in range(3):
        assert comes_up(scene, number) is verdicts.TO_REAL_SERVER
    assert scene.kernels[0].ready == 1
    prepared = scene.worlds[0].inside.prepared
    take_over = prepared.take_over

    def taken_behind_it() -> bool:
        found = take_over()
        if scene.kernels[0].ready:
            scene.put_syn()
        return found

    monkeypatch.setattr(prepared, "take_over", taken_behind_it)
    assert comes_up(scene, 3) is verdicts.SERVICE_FULL
    monkeypatch.undo()
    assert (scene.by_kernel, sum(scene.open())) == (1, 4)


def test_nobody_is_refused_for_the_sake_of_what_is_ready() -> None:
    scene = load(max_conn=12)
    assert prepare(scene, 10) == 3
    opened = [comes_up(scene, number) for number in range(13)]
    assert opened == [verdicts.TO_REAL_SERVER] * 12 + [verdicts.SERVICE_FULL]
    assert scene.kernels[0].ready == 0


def test_nor_sent_to_another_real_server() -> None:
    scene = load(most=(12, 12))
    assert prepare(scene, 10) == 3
    for number in range(24):
        assert comes_up(scene, number) is verdicts.TO_REAL_SERVER
    assert comes_up(scene, 24) is verdicts.SERVERS_FULL
    assert scene.open() == [12, 12]


@pytest.mark.parametrize(("shards", "max_conn", "ready"), [(1, 3, 0), (1, 4, 1), (1, 43, 10), (2, 7, 0), (2, 8, 1), (2, 43, 5)])
def test_a_quarter_of_the_room_may_be_ready(shards: int, max_conn: int, ready: int) -> None:
    assert prepare(load(shards=shards, max_conn=max_conn), 10) == ready


def test_where_one_real_server_is_full_each_syn_comes_up() -> None:
    """Who gets what it has no room for depends on the client."""
    scene = load(most=(10, 0))
    for number in range(20):
        comes_up(scene, number)
    assert scene.open() == [10, 10]
    assert prepare(scene, 10) == 0
    scene.worlds[0].shard.change_drained((0,))
    assert prepare(scene, 10) > 0, "one that gets none anyway makes no difference"


def test_the_backlog_of_a_service_with_limits_is_half_of_what_it_may_have() -> None:
    scene = load(max_conn=100)
    for number in range(45):
        comes_up(scene, number)
    assert prepare(scene, 100) == 5, "and not a quarter of 55"


def test_a_lower_limit_is_in_force_at_once() -> None:
    made = load(max_conn=1000)
    assert prepare(made, 30) == 120
    (world,) = made.worlds
    world.change(scene("rr", (1, 1), max_conn=20))
    assert made.kernels[0].ready == sum(world.shared.ready) == 0
    for _ in range(30):
        made.put_syn()
        look(made)
    assert sum(made.open()) == 20


def test_a_worker_begins_with_nothing_ready() -> None:
    made = load(max_conn=100)
    assert prepare(made, 20) == 25 == sum(made.worlds[0].shared.ready)
    world = made.worlds[0]
    type(world.shard)(world.plan, world.shared, world.now, world.maps)
    assert sum(world.shared.ready) == 0
