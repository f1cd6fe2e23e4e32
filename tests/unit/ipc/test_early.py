"""When the lane acts before netfilter has a packet."""

import pytest

from appliance.ipc.early import ADMISSIONS, COOKIES, EARLY, IN_AUTO, in_force, is_on, is_on_for_shards
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tunables import INDEX, TUNABLES

CASES = [(0, False, False), (0, True, False), (1, False, True), (1, True, False), (2, False, True), (2, True, True)]


@pytest.mark.parametrize(("setting", "has_early_rules", "expected"), CASES)
@pytest.mark.parametrize("name", EARLY)
def test_it_acts_by_its_tunable_and_by_the_rules_of_the_host(
    name: str, setting: int, has_early_rules: bool, expected: bool
) -> None:
    assert is_on(setting, has_early_rules=has_early_rules) is expected
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, 1))), 1, 1)
    shared.set_tunables({name: setting})
    shared.early_rules[0] = has_early_rules
    assert is_on_for_shards(shared, name) is expected
    assert in_force(shared.tunable, has_early_rules=has_early_rules)(name) == expected


def test_all_other_tunables_are_as_they_are() -> None:
    values = {name: tunable.default for name, tunable in TUNABLES.items()}
    got = in_force(values.__getitem__, has_early_rules=True)
    assert {name: got(name) for name in INDEX} == values | dict.fromkeys(EARLY, 0)


def test_cookies_and_admissions_are_on_unless_rules_stand_against_them() -> None:
    assert {(TUNABLES[name].min, TUNABLES[name].max) for name in EARLY} == {(0, 2)}
    assert {name for name in EARLY if TUNABLES[name].default == IN_AUTO} == {COOKIES, ADMISSIONS}
