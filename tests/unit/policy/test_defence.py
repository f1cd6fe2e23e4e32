"""policy/defence.py: its rules, and counters of the kernel that only grow, however often the kernel starts them anew."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.model.counters import EXT_COUNTERS
from appliance.model.tunables import DEFAULTS, INDEX
from appliance.policy.defence import FRAGMENTS, RULES, Defence, KernelCounts


def test_tunables_and_counters_are_those_of_the_contract() -> None:
    assert {rule.tunable for rule in RULES} <= INDEX.keys()
    assert {EXT_COUNTERS[rule.place].name for rule in RULES} == {rule.counter for rule in RULES}
    assert Defence.of({name: DEFAULTS[place] for name, place in INDEX.items()}).rules == RULES, "all are in force by default"
    values = {rule.tunable: int(rule is not FRAGMENTS) for rule in RULES} | {"fullnat_toa_kind": 200}
    assert FRAGMENTS not in Defence.of(values).rules
    assert Defence.of(values).toa_kind == 200


def test_kernel_counts_add_up_over_every_reset() -> None:
    counts = KernelCounts()
    assert set(counts.totals.values()) == {0}
    counts.read({"defence_udp_drop": 5, "defence_tcp_drop": 1})
    counts.read({})
    assert counts.totals == {"defence_ip_frag_drop": 0, "defence_tcp_drop": 1, "defence_udp_drop": 5}
    counts.start_anew()
    assert counts.totals["defence_udp_drop"] == 5
    counts.read({"defence_udp_drop": 6, "defence_tcp_drop": 0})
    assert counts.totals["defence_udp_drop"] == 11, "a reset that is known of, although the number did not go down"
    counts.read({"defence_udp_drop": 2, "defence_tcp_drop": 0})
    assert counts.totals == {"defence_ip_frag_drop": 0, "defence_tcp_drop": 1, "defence_udp_drop": 13}, "and one that is not"


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=30))
def test_kernel_counts_never_go_backwards(looks: list[int | None]) -> None:
    counts, last = KernelCounts(), 0
    for look in looks:
        if look is None:
            counts.start_anew()
        else:
            counts.read({"defence_tcp_drop": look})
        assert counts.totals["defence_tcp_drop"] >= last
        last = counts.totals["defence_tcp_drop"]
