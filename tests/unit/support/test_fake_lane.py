"""support/fake_lane.py: it has what the director uses of the real one."""

import inspect

from appliance.director.lane import Lane
from tests.support.fake_lane import FakeLane


def test_every_method_has_the_arguments_of_the_real_one() -> None:
    for name, method in inspect.getmembers(FakeLane, inspect.isfunction):
        if name != "__init__":
            assert list(inspect.signature(method).parameters) == list(inspect.signature(getattr(Lane, name)).parameters), name


def test_it_notes_what_is_asked_of_it() -> None:
    steps: list[str] = []
    lane = FakeLane(steps)
    lane.open(260)
    lane.set_open(False)
    lane.end()
    assert steps == ["a lane with 260 slots is there", "the lane is closed", "the lane is gone"]
