"""state/latch.py: how many clients that the kernel has answered would be half-open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.lane_layout import LATCH
from appliance.state.latch import Latch

BACKLOG, LIFE_S = 100, 50.0
"""Two places become free each second."""


class Scene:
    """A latch, its memory and the clock."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(LATCH.size))
        self.memory[:] = LATCH.pack(1000, 1, 1, 2**63, 0, b"")
        self.latch = Latch(self.memory)
        self.now = 10.0

    def passes(self, seconds: float, cookies: int = 0, proven: int = 0) -> float:
        """What is estimated after this time, in which the kernel sends and clients return so many cookies."""
        self.now += seconds
        self.memory[:8] = (self.cookies + cookies).to_bytes(8, "little")
        self.latch.proven += proven
        self.latch.look(BACKLOG, LIFE_S, self.now)
        return self.latch.unproven

    @property
    def cookies(self) -> int:
        return int(LATCH.unpack(self.memory)[0])

    @property
    def is_open(self) -> bool:
        return bool(LATCH.unpack(self.memory)[1])


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    assert not scene.is_open, "what an earlier worker has left is closed"
    scene.latch.open(scene.now)
    return scene


def test_it_is_open_until_it_is_closed(scene: Scene) -> None:
    assert scene.is_open
    scene.latch.close()
    assert (scene.is_open, scene.cookies) == (False, 1000)


def test_what_was_sent_before_it_was_opened_does_not_count(scene: Scene) -> None:
    assert scene.passes(0) == 0


def test_each_cookie_takes_a_place_until_it_is_returned(scene: Scene) -> None:
    assert scene.passes(0, cookies=30) == 30
    assert scene.passes(0, cookies=10, proven=25) == 15
    assert scene.passes(0, proven=25) == 0, "those before it was opened are returned as well"
    assert scene.passes(0, cookies=7) == 7


def test_places_become_free_as_half_open_sessions_end(scene: Scene) -> None:
    scene.passes(0, cookies=30)
    assert scene.passes(5) == 20
    assert scene.passes(100) == 0


def test_it_is_never_more_than_a_full_backlog(scene: Scene) -> None:
    assert scene.passes(0, cookies=1_000_000) == BACKLOG
    assert scene.passes(LIFE_S / 4) == BACKLOG * 3 / 4
    assert scene.passes(LIFE_S) == 0


@pytest.mark.parametrize(("per_look", "at_the_end"), [(1, 1), (2, 2), (3, BACKLOG)])
def test_it_fills_while_more_come_than_places_become_free(scene: Scene, per_look: int, at_the_end: int) -> None:
    """Two places become free from look to look."""
    for _ in range(200):
        scene.passes(1.0, cookies=per_look)
    assert scene.latch.unproven == at_the_end


def test_opened_again_it_begins_anew_or_with_what_there_was(scene: Scene) -> None:
    scene.passes(0, cookies=30, proven=1)
    scene.latch.close()
    assert scene.latch.unproven == 0
    scene.passes(0, cookies=30)
    scene.latch.open(scene.now)
    assert scene.passes(0) == 0
    scene.latch.open(scene.now, unproven=12)
    assert scene.passes(1) == 10


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_it_is_between_none_and_all_places_and_empty_in_time(steps: list[tuple[float, int, int]]) -> None:
    scene = Scene()
    scene.latch.open(scene.now)
    for step in steps:
        assert 0 <= scene.passes(*step) <= BACKLOG
    assert scene.passes(LIFE_S * 1.001) < 1
