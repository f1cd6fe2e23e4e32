"""All schedulers by their names in the configuration. A new scheduler is a file beside this one and a line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from appliance.policy.schedulers.contract import Scheduler, Setup
from appliance.policy.schedulers.least_connections import LeastConnections, WeightedLeastConnections
from appliance.policy.schedulers.maglev import Maglev
from appliance.policy.schedulers.round_robin import RoundRobin, WeightedRoundRobin
from appliance.policy.schedulers.source_hash import SourceHash

SCHEDULERS: Mapping[str, Callable[[Setup], Scheduler]] = MappingProxyType(
    {
        "rr": RoundRobin,
        "wrr": WeightedRoundRobin,
        "lc": LeastConnections,
        "wlc": WeightedLeastConnections,
        "sh": SourceHash,
        "mh": Maglev,
    }
)
"""Name -> what makes a scheduler for one service."""

BY_ADDRESS = frozenset(("sh", "mh"))
"""Those that choose by the client's address alone. A client stays with them without persistence, and slow start does nothing."""
