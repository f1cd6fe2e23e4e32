"""What a shard makes of the tunables that depend on more than their value."""

import pytest

from appliance.ipc.early import ADMISSIONS, COOKIES, EARLY, STRAYS
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.state.live_tunables import LiveTunables

SWITCHES = {COOKIES: "in_kernel", STRAYS: "strays_in_kernel", ADMISSIONS: "prepared"}


@pytest.mark.parametrize("one", EARLY)
@pytest.mark.parametrize(
    ("setting", "has_early_rules", "expected"), [(0, False, False), (1, False, True), (1, True, False), (2, True, True)]
)
def test_what_the_lane_does_before_rules_of_the_host(one: str, setting: int, has_early_rules: bool, expected: bool) -> None:
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, 1))), 1, 1)
    shared.set_tunables(dict.fromkeys(EARLY, 0) | {one: setting})
    shared.early_rules[0] = has_early_rules
    live = LiveTunables(shared)
    assert {name for name in EARLY if getattr(live, SWITCHES[name])} == ({one} if expected else set())
