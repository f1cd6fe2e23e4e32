"""Changes of tunables while traffic flows: what is checked, and in which order a value is put in force.

The kernel comes first, because only the kernel can refuse; the shards follow by the shared memory.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from appliance.edge.errors import EdgeError
from appliance.ipc.shared_layout import SharedState
from appliance.model.tunables import TunableError, check_value
from appliance.policy import steering
from appliance.policy.defence import TUNABLE_NAMES, Defence

log = logging.getLogger("appliance.director")


class Tuning:
    """The tunables of one run."""

    def __init__(self, shared: SharedState, change_defence: Callable[[Defence], None]) -> None:
        """`change_defence` puts rules in force in the kernel. It blocks, and raises EdgeError when the kernel refuses them."""
        self._shared = shared
        self._change_defence = change_defence
        self.changing = asyncio.Lock()
        """Held while tunables change. Without it two changes at once could leave different values in the kernel and in shards."""

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in the kernel and in all shards. Raises TunableError when it is refused; then nothing changes."""
        check_value(name, value)
        async with self.changing:
            self.check_port_range({name: value})
            await self.put_in_force({name: value})

    async def put_in_force(self, values: Mapping[str, int]) -> None:
        """Put checked values in force; `changing` is held by the caller.

        Raises TunableError when the kernel refuses the rules that come of them; then nothing changes.
        """
        if ours := sorted(values.keys() & TUNABLE_NAMES):
            try:
                await asyncio.to_thread(self._change_defence, self.defence(values))
            except EdgeError as error:
                raise TunableError(f"{', '.join(ours)}: the kernel refuses the rules: {error}") from error
        for name, value in values.items():
            log.info("%s: %d -> %d", name, self._shared.tunable(name), value)
        self._shared.set_tunables(dict(values))

    def without_those_in_force(self, values: Mapping[str, int]) -> dict[str, int]:
        """The values that differ from those in force."""
        return {name: value for name, value in values.items() if value != self._shared.tunable(name)}

    def defence(self, changes: Mapping[str, int]) -> Defence:
        """The rules of the defence that are in force after these changes of tunables."""
        return Defence.of({name: changes.get(name, self._shared.tunable(name)) for name in TUNABLE_NAMES})

    def check_port_range(self, changes: Mapping[str, int]) -> None:
        """Raises TunableError when a shard would have no local port after these changes of tunables."""
        low, high = (changes.get(name, self._shared.tunable(name)) for name in ("fullnat_lport_min", "fullnat_lport_max"))
        if low > high:
            raise TunableError(f"fullnat_lport_min ({low}) would be greater than fullnat_lport_max ({high})")
        shards = self._shared.shards
        if without := steering.shards_without_ports(steering.shard_table(shards), low, high):
            raise TunableError(f"local ports {low}..{high} would leave shard {without[0]} of {shards} without any")
