"""All modes, in the order of tables and charts, and those that can be measured here."""

from collections.abc import Sequence

from bench.modes.appliance import APPLIANCE, APPLIANCE_NO_LANE, KNOWS_LANE
from bench.modes.haproxy import HAPROXY
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.queue_loop import QUEUE_LOOP
from bench.modes.routing import ROUTING

_ALL = (ROUTING, NFT_NAT, HAPROXY, QUEUE_LOOP, APPLIANCE, APPLIANCE_NO_LANE)

BY_NAME = {mode.name: mode for mode in _ALL}

_UNKNOWN = () if KNOWS_LANE else (APPLIANCE_NO_LANE.name,)
DEFAULTS = tuple(name for name in BY_NAME if name not in _UNKNOWN)


def refusal(name: str) -> str:
    """Why a mode of that name cannot be asked for; empty when it can."""
    if name not in BY_NAME:
        return f"{name!r} is not a mode; the modes are {', '.join(DEFAULTS)}"
    if name in _UNKNOWN:
        return f"{name!r}: this version of the appliance has no lane, so {APPLIANCE.name!r} is the appliance without one"
    return ""


def installed(modes: Sequence[Mode]) -> tuple[list[Mode], list[str]]:
    """The modes whose programs are here, and a sentence for each of the others."""
    missing = [(mode, mode.missing()) for mode in modes]
    left_out = [f"{mode.title} is left out: {', '.join(programs)} is not installed" for mode, programs in missing if programs]
    return [mode for mode, programs in missing if not programs], left_out
