"""Looks for attacks in the counters, and logs when one begins and when it is over."""

import logging
import time
from collections.abc import Mapping

from appliance.attack.kinds import KERNEL, UNPROVEN
from appliance.attack.watch import Attack, AttackWatch, Clients, Look
from appliance.director.samples import counts_by_name
from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals

log = logging.getLogger("appliance.attack")

_CONNS = TRAFFIC_FIELDS.index("conns")
_NAMED_RULES = 3
"""How many rules a log line names: those that dropped most."""


def look_of(shared: SharedState, kernel_drops: Mapping[str, int]) -> Look:
    """The counters of this moment. `kernel_drops` has what the kernel dropped, by extended counter."""
    counts = counts_by_name(shared)
    proofs = counts["synproxy_ok_ack"]
    counts[UNPROVEN] = max(0, counts["synproxy_syn_cnt"] - proofs)
    counts |= {rule: kernel_drops[counter] for rule, counter in KERNEL.items() if counter in kernel_drops}
    sessions = sum(row[_CONNS] for row in totals(shared))
    return Look(time.monotonic(), time.clock_gettime(time.CLOCK_REALTIME), counts, Clients(sessions, proofs))


class Attacks:
    """The attacks of this run."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self.watch = AttackWatch()

    def look(self, kernel_drops: Mapping[str, int]) -> None:
        """Look once, and log what has changed."""
        for attack in self.watch.look(look_of(self._shared, kernel_drops)):
            log.warning("%s", _sentence(attack))


def _sentence(attack: Attack) -> str:
    rules = ", ".join(f"{rule} {count}" for rule, count in attack.rules.most_common(_NAMED_RULES))
    clients = f"new sessions {attack.sessions_per_s:.1f}/s, before {attack.sessions_per_s_before:.1f}/s"
    if attack.ended_wall_s is None:
        return f"attack began: {attack.kind.name}, {attack.rate_per_s:.0f}/s ({attack.kind.summary}): {rules}; {clients}"
    what = f"{attack.dropped} dropped, at most {attack.peak_per_s:.0f}/s"
    return f"attack is over: {attack.kind.name}, after {attack.lasted_s:.0f} s: {what}: {rules}; {clients}"
