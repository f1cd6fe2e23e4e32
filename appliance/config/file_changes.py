"""What a file changes that is read again, when some of what is in force was changed while it ran. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from appliance.config.edits import SOURCE, pools_of, value_of
from appliance.config.loading import Config, Service, with_parts

T = TypeVar("T")


def changed_in_file(running: Config, before: Config, after: Config) -> Config:
    """The next configuration: `after`, but with those services and pools, and the session log, as they run that the file says the
    same of as `before`, when it was read last. So a change that was made while it ran stays until the file says something new of
    the same thing, as with tunables.

    Raises ConfigError when what comes of it does not fit together.
    """
    after = with_same_services(running, after)
    services = _merged(*({service.name: service for service in config.services} for config in (running, before, after)))
    pools = _merged(*(pools_of(config) for config in (running, before, after)))
    log = (running if before.session_log == after.session_log else after).session_log
    is_as_in_file = log == after.session_log
    after = after.model_copy(update={"session_log": log})
    if is_as_in_file and services == {service.name: service for service in after.services} and pools == pools_of(after):
        return after
    return with_parts(after, list(services.values()), pools, SOURCE)


def with_same_services(running: Config, wanted: Config) -> Config:
    """`wanted`, in which each service that is equal to one that runs is that one: whoever compares two configurations after this
    needs no time for what has not changed, which is nearly all when there are thousands of services."""
    there = {service.name: service for service in running.services}
    same = tuple(_the_same(there.get(service.name), service) for service in wanted.services)
    return wanted.model_copy(update={"services": same})


def _the_same(known: Service | None, service: Service) -> Service:
    """The first one when the second one says the same, with the same keys."""
    return known if known is not None and known == service and value_of(known) == value_of(service) else service


def _merged(running: Mapping[str, T], before: Mapping[str, T], after: Mapping[str, T]) -> dict[str, T]:
    """In the order of the file; what only runs comes last."""
    merged: dict[str, T] = {}
    for name in dict.fromkeys((*after, *running)):
        chosen = (running if before.get(name) == after.get(name) else after).get(name)
        if chosen is not None:
            merged[name] = chosen
    return merged
