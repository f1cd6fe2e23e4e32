"""All modes, in the order of tables and charts, and those that can be measured here."""

from collections.abc import Sequence

from bench.modes.appliance import APPLIANCE, APPLIANCE_NO_LANE, APPLIANCE_WORKERS
from bench.modes.haproxy import HAPROXY
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.queue_loop import QUEUE_LOOP
from bench.modes.routing import ROUTING

_ALL = (ROUTING, NFT_NAT, HAPROXY, QUEUE_LOOP, APPLIANCE, APPLIANCE_NO_LANE)

BY_NAME = {mode.name: mode for mode in (*_ALL, APPLIANCE_WORKERS)}

DEFAULTS = tuple(mode.name for mode in _ALL)
"""Those that are measured when nothing else is said."""


def refusal(name: str) -> str:
    """Why a mode of that name cannot be asked for; empty when it can."""
    return "" if name in BY_NAME else f"{name!r} is not a mode; the modes are {', '.join(BY_NAME)}"


def installed(modes: Sequence[Mode]) -> tuple[list[Mode], list[str]]:
    """The modes whose programs are here, and a sentence for each of the others."""
    missing = [(mode, mode.missing()) for mode in modes]
    left_out = [f"{mode.title} is left out: {', '.join(programs)} is not installed" for mode, programs in missing if programs]
    return [mode for mode, programs in missing if not programs], left_out
