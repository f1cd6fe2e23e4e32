"""What the lane does with packets that open no way for themselves: SYNs, and packets of no session. It acts before netfilter.

A rule of the host in front of the rules that steer would not see such a packet, or would see other addresses than without the
lane. So each of the tunables says how much that counts: 0 the lane does nothing of the kind, 1 only while the host has no such
rules (`policy.early_rules`), 2 whatever rules there are. The table of a trace counts as one: the trace shows all packets.
"""

from collections.abc import Callable

from appliance.ipc.shared_layout import SharedState

IN_AUTO, ALWAYS = 1, 2

COOKIES, ADMISSIONS, STRAYS = EARLY = ("synproxy_in_kernel", "prepared_admissions", "strays_in_kernel")
"""The tunables: answers with cookies, sessions that were decided in advance, packets that open nothing."""


def is_on(setting: int, *, has_early_rules: bool) -> bool:
    """Whether the lane does it, by the value of the tunable and by whether the host has such rules."""
    return setting == ALWAYS or (setting == IN_AUTO and not has_early_rules)


def is_on_for_shards(shared: SharedState, name: str) -> bool:
    """The same for the tunable of this name, by what stands in the shared memory."""
    return is_on(shared.tunable(name), has_early_rules=bool(shared.early_rules[0]))


def in_force(tunable: Callable[[str], int], *, has_early_rules: bool) -> Callable[[str], int]:
    """The values of tunables, each of EARLY as a switch: 1 when the lane does it, else 0. `tunable` gives the value of each."""

    def value(name: str) -> int:
        setting = tunable(name)
        return int(is_on(setting, has_early_rules=has_early_rules)) if name in EARLY else setting

    return value
