"""ring.py: where the pools of a schedule stand in the memory that the kernel reads."""

import pytest

from appliance.ipc.admission_layout import RING, RING_OFFSETS, SCHEDULE_PLACES
from appliance.sessions.ring import Ring
from tests.support.lane_maps import FakeMaps

NUMBER, POOLS = 3, [11, 12, 13, 14, 15]
HASH_STATE = (1, 2, 3, 4, 5, 6, 7, 8)


class Scene:
    """A ring of which so many turns were taken before."""

    def __init__(self, turns: int) -> None:
        self.maps, self.turns = FakeMaps(), turns
        self.ring = Ring(self.maps, NUMBER)
        own = self.maps.rings[NUMBER * RING.size : (NUMBER + 1) * RING.size]
        own.cast("Q")[RING_OFFSETS["turn"] // 8] = turns
        self._halves = own.cast("H")

    def at(self, place: int) -> int:
        return self._halves[RING_OFFSETS["schedule"] // 2 + place]


@pytest.mark.parametrize("turns", [0, 5, 7, 2**40 + 4])
@pytest.mark.parametrize("pools", [POOLS, POOLS[:1], list(range(SCHEDULE_PLACES))], ids=["five", "one", "all"])
def test_the_next_turn_is_the_first_of_a_round(turns: int, pools: list[int]) -> None:
    scene = Scene(turns)
    scene.ring.put_schedule(pools)
    length = len(pools)
    assert [scene.at((turns + more) % length) for more in range(length)] == pools
    assert scene.ring.has_schedule


def test_where_the_client_decides_turns_make_no_difference() -> None:
    scene = Scene(7)
    scene.ring.put_schedule(POOLS, HASH_STATE)
    assert [scene.at(place) for place in range(len(POOLS))] == POOLS


def test_there_may_be_none() -> None:
    scene = Scene(7)
    scene.ring.put_schedule(())
    assert not scene.ring.has_schedule
