"""Changes of tunables while traffic flows: what is checked, in which order a value is put in force, and how often.

The kernel comes first, because only the kernel can refuse; the shards follow by the shared memory. Every change makes each shard
read its tunables anew between two packets, and a change of the port range costs it a millisecond. So writes that come fast are
put in force together, a few times a second.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set

from appliance.edge.errors import EdgeError
from appliance.ipc.shared_layout import SharedState
from appliance.model.tunables import TunableError, check_value
from appliance.policy import steering
from appliance.policy.defence import TUNABLE_NAMES, Defence

log = logging.getLogger("appliance.director")

BURST = 5
"""How many changes may be put in force one directly after the other, as when an operator or a script sets a few tunables."""

CHANGES_PER_S = 5.0
"""How many changes a second are put in force when writes keep coming. So in any second there are at most ten."""


_ROUNDING = 1e-6
"""Without it, sums of small floats could come to just below a token, for ever."""


class Pace:
    """Says how long the next change has to wait. A token bucket that is told the time."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds from `now` until a change may be put in force; a change that need not wait is counted as made."""
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * CHANGES_PER_S)
        self._at = now
        if self._tokens >= 1 - _ROUNDING:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / CHANGES_PER_S


class _Batch:
    """Writes that are put in force together. Of two writes of one tunable the later one counts."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.refused: dict[str, TunableError] = {}
        self.is_done = False


class Tuning:
    """The tunables of one run."""

    def __init__(
        self,
        shared: SharedState,
        change_defence: Callable[[Defence], None],
        change_lane: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`change_defence` puts rules in force in the kernel. It blocks, and raises EdgeError when the kernel refuses them.
        `change_lane` has the lane go by what stands in the shared memory; nobody can refuse that."""
        self._shared = shared
        self._change_defence = change_defence
        self._change_lane = change_lane
        self._now = now
        self._sleep = sleep
        self._pace = Pace()
        self._waiting = _Batch()
        self.changing = asyncio.Lock()
        """Held while tunables change. Without it two changes at once could leave different values in the kernel and in shards."""

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in the kernel and in all shards. Raises TunableError when it is refused; then nothing changes.

        When writes come faster than CHANGES_PER_S, this waits, and all that wait are put in force together. When it returns, the
        value is in force, or a later one that somebody else wrote meanwhile.
        """
        check_value(name, value)
        batch = self._waiting
        self.check_port_range(batch.values | {name: value})
        batch.values[name] = value
        async with self.changing:
            if not batch.is_done:
                while self.without_those_in_force(batch.values) and (wait_s := self._pace.wait_s(self._now())):
                    await self._sleep(wait_s)
                if self._waiting is batch:
                    self._waiting = _Batch()
                await self._apply(batch)
        if name in batch.refused:
            raise batch.refused[name]

    async def _apply(self, batch: _Batch) -> None:
        """Put all values of a batch in force, or refuse those that the kernel, or a reload since they were checked, rules out."""
        values = self.without_those_in_force(batch.values)
        try:
            self.check_port_range(values)
        except TunableError as error:
            self._refuse(batch, values, {"fullnat_lport_min", "fullnat_lport_max"}, error)
        try:
            await self.put_in_force(values)
        except TunableError as error:
            self._refuse(batch, values, TUNABLE_NAMES, error)
            await self.put_in_force(values)
        batch.is_done = True

    @staticmethod
    def _refuse(batch: _Batch, values: dict[str, int], names: Set[str], error: TunableError) -> None:
        for name in values.keys() & names:
            del values[name]
            batch.refused[name] = error

    async def put_in_force(self, values: Mapping[str, int]) -> None:
        """Put checked values in force; `changing` is held by the caller. Without any value, nothing is done.

        Raises TunableError when the kernel refuses the rules that come of them; then nothing changes.
        """
        if ours := sorted(values.keys() & TUNABLE_NAMES):
            try:
                await asyncio.to_thread(self._change_defence, self.defence(values))
            except EdgeError as error:
                raise TunableError(f"{', '.join(ours)}: the kernel refuses the rules: {error}") from error
        for name, value in values.items():
            log.info("%s: %d -> %d", name, self._shared.tunable(name), value)
        if values:
            self._shared.set_tunables(dict(values))
            self._change_lane()

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
