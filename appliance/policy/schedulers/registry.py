"""All schedulers by their names in the configuration. A new scheduler is a file beside this one and a line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from appliance.policy.schedulers.contract import Scheduler
from appliance.policy.schedulers.round_robin import RoundRobin

SCHEDULERS: Mapping[str, Callable[[], Scheduler]] = MappingProxyType({"rr": RoundRobin})
"""Name -> what makes a scheduler for one service."""
