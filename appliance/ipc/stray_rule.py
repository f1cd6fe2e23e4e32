"""The stray rule of a service: what the kernel has to know to end packets of no session. Pure: it packs values of maps."""

from typing import NamedTuple

from appliance.ipc.lane_layout import NO_LATCH, STRAY_RULE, STRAY_RULE_FIELDS


class StrayRule(NamedTuple):
    """The fields of `lane_layout.STRAY_RULE`, in their order."""

    cookies: bool
    defers: bool
    drops: bool
    reserved: int
    allowance: int
    first_latch: int = NO_LATCH

    def pack(self) -> bytes:
        """The value of the map `stray_rules`."""
        return STRAY_RULE.pack(*self)


assert len(StrayRule._fields) == len(STRAY_RULE_FIELDS)
