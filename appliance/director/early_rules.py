"""Whether the host has rules that see SYNs before the appliance, for as long as the appliance runs (`policy.early_rules`).

Everybody who decides on prepared admissions goes by it: the shards by the shared memory, and the lane.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

from appliance.director.watches import when_noticed
from appliance.edge import early_rules
from appliance.edge.errors import EdgeError
from appliance.edge.notices import RuleNotices
from appliance.ipc.shared_layout import SharedState

log = logging.getLogger("appliance.lane")

LOOK_INTERVAL_S = 0.5
"""Between two looks without a notice of the kernel: iptables-legacy gives none."""


class EarlyRules:
    """Those of a run. Before the first look, and when the kernel does not say, it counts as if there were some."""

    def __init__(self, shared: SharedState, client_interfaces: Collection[str], changed: Callable[[], None]) -> None:
        """`changed` hears that `reason` is another one, when the shards have it in the shared memory already."""
        self._shared, self._changed = shared, changed
        self._rules = early_rules.EarlyRules(client_interfaces)
        self.reason = "the rules of the host have not been looked at yet"
        """What stands against prepared admissions, in words; empty when nothing does."""
        shared.early_rules[0] = True

    async def look(self) -> None:
        """Look at the rules once, and have everybody go by what has changed."""
        reason = await asyncio.to_thread(self._look)
        if reason != self.reason:
            self.reason = reason
            self._shared.early_rules[0] = bool(reason)
            self._shared.generation[0] += 1
            self._changed()

    def _look(self) -> str:
        try:
            return self._rules.look()
        except Exception as error:  # whatever it is: in doubt, SYNs go to the workers
            is_ours = not isinstance(error, EdgeError)
            reason = f"the rules of the host cannot be looked at: {f'{type(error).__name__}: ' if is_ours else ''}{error}"
            if reason != self.reason:
                log.error("%s", reason, exc_info=is_ours and error)
            return reason

    async def watch(self) -> None:
        """Look as soon as the kernel gives a notice, and every LOOK_INTERVAL_S."""
        with contextlib.closing(RuleNotices()) as notices:
            await when_noticed(self.look, notices, LOOK_INTERVAL_S)
