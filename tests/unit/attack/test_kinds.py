"""The list of kinds: every rule is a counter that exists, and belongs to one kind."""

from collections import Counter

from appliance.attack.kinds import KERNEL, KINDS, UNPROVEN
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS


def test_every_rule_is_a_counter() -> None:
    known = {counter.name for counter in (*VERDICT_COUNTERS, *QUEUE_COUNTERS)} | set(KERNEL) | {UNPROVEN}
    assert not {rule for kind in KINDS for rule in kind.rules} - known
    assert set(KERNEL.values()) <= {counter.name for counter in EXT_COUNTERS}


def test_no_packet_belongs_to_two_kinds() -> None:
    times = Counter(rule for kind in KINDS for rule in kind.rules)
    assert max(times.values()) == 1
    assert len({kind.name for kind in KINDS}) == len(KINDS)
