"""persistence.py: where a client goes again, and when it does not."""

from dataclasses import dataclass

from appliance.ipc.persistence_table import WORDS, PersistenceTable, service_number
from appliance.model.counters import PERSISTENCE_DISPLACED, PERSISTENCE_HITS, QUEUE_COUNTERS
from appliance.state.persistence import Persistence, Remembered
from tests.support.candidates import client_key

SERVICE = service_number("tcp", "203.0.113.10", 80, 32)


@dataclass(eq=False)
class RealServer:
    """What persistence knows of one."""

    slot: int
    weight: int = 1


class Locks:
    """Locks that write down who has them, and can be held by somebody else."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.are_held = False

    def take(self, number: int) -> bool:
        self.calls.append(("take", number))
        return not self.are_held

    def give_back(self, number: int) -> None:
        self.calls.append(("give back", number))


class Scene:
    """A service in several shards, and a scheduler that takes each candidate in turn."""

    def __init__(self, lasts_s: int = 60, prefix_bits: int = 32, shards: int = 1) -> None:
        words = memoryview(bytearray(8 * WORDS)).cast("Q")
        self.locks = Locks()
        self.counts = memoryview(bytearray(8 * len(QUEUE_COUNTERS))).cast("Q")
        self.shards = [
            Persistence[RealServer](
                Remembered(PersistenceTable(words, b"secret"), self.locks, self.counts), SERVICE, lasts_s, prefix_bits
            )
            for _ in range(shards)
        ]
        self.candidates: tuple[RealServer, ...] = tuple(RealServer(slot) for slot in range(3))
        self.scheduled = 0

    def schedule(self) -> RealServer | None:
        open_ones = [candidate for candidate in self.candidates if candidate.weight]
        self.scheduled += 1
        return open_ones[(self.scheduled - 1) % len(open_ones)] if open_ones else None

    def slot(self, client: int, now: float, shard: int = 0) -> int | None:
        picked = self.shards[shard].pick(self.candidates, client_key(client), now, self.schedule)
        return None if picked is None else picked.slot

    def change(self, *weights: int) -> None:
        """Other candidates, of which the first have these weights; those behind them are gone."""
        self.candidates = tuple(RealServer(slot, weight) for slot, weight in enumerate(weights))


def test_a_client_goes_to_the_same_real_server_in_every_shard_and_others_in_turn() -> None:
    scene = Scene(shards=3)
    assert [scene.slot(client, 10.0) for client in range(4)] == [0, 1, 2, 0]
    for shard in range(3):
        assert [scene.slot(client, 20.0, shard) for client in range(4)] == [0, 1, 2, 0]
    assert scene.scheduled == 4
    assert scene.counts[PERSISTENCE_HITS] == 12


def test_each_new_session_begins_the_time_anew() -> None:
    scene = Scene(lasts_s=60)
    assert scene.slot(7, 0.0) == 0
    assert [scene.slot(7, now) for now in (59.0, 118.0, 177.0)] == [0, 0, 0]
    assert scene.slot(7, 237.0) == 1, "its time is over, and it is the next one's turn"


def test_it_ends_when_its_real_server_takes_no_new_sessions() -> None:
    """At weight 0, or when it is no candidate any more."""
    scene = Scene()
    assert scene.slot(7, 0.0) == 0
    scene.change(0, 1, 1)
    assert scene.slot(7, 1.0) == 2, "the second turn, of two"
    scene.change(1, 1)
    assert scene.slot(7, 2.0) == 0
    scene.change(1, 1, 1)
    assert scene.slot(7, 3.0) == 0, "where it was sent last"


def test_without_any_real_server_nobody_is_remembered() -> None:
    scene = Scene()
    scene.change(0, 0)
    assert scene.slot(7, 0.0) is None
    scene.change(0, 1)
    assert scene.slot(7, 0.0) == 1


def test_clients_of_one_network_are_one() -> None:
    scene = Scene(prefix_bits=24)
    assert {scene.slot(client, 0.0) for client in range(256)} == {0}
    assert scene.slot(256, 0.0) == 1


def test_the_first_session_of_a_client_is_chosen_under_the_lock_and_later_ones_without() -> None:
    scene = Scene()
    scene.slot(7, 0.0)
    (take, bucket), (give_back, same) = scene.locks.calls
    assert (take, give_back) == ("take", "give back")
    assert bucket == same
    scene.slot(7, 1.0)
    assert len(scene.locks.calls) == 2


def test_whoever_finds_an_entry_behind_the_lock_goes_by_it() -> None:
    """Two shards have looked, and both have found none; the other one was quicker."""
    scene = Scene(shards=2)
    take = scene.locks.take

    def other_one_is_quicker(number: int) -> bool:
        scene.locks.take = take  # type: ignore[method-assign]
        assert scene.slot(7, 0.0, shard=1) == 0
        return take(number)

    scene.locks.take = other_one_is_quicker  # type: ignore[method-assign]
    assert scene.slot(7, 0.0, shard=0) == 0
    assert scene.scheduled == 1


def test_a_lock_that_nobody_gives_back_holds_up_no_session() -> None:
    scene = Scene()
    scene.locks.are_held = True
    assert scene.slot(7, 0.0) == 0
    assert [call for call, _ in scene.locks.calls] == ["take"], "what was not taken is not given back"
    assert scene.slot(7, 1.0) == 0


def test_clients_that_had_to_go_are_counted() -> None:
    scene = Scene()
    for client in range(70_000):
        scene.slot(client, 0.0)
    assert 4_464 <= scene.counts[PERSISTENCE_DISPLACED] < 12_000
