"""Names of tunables and of host parameters as people type them: with the path or the dots that they have elsewhere.

`/proc/sys/net/ipv4/vs/NAME` and `net.ipv4.vs.NAME` are tunables, as in the LVS kernels; other names below `net` are parameters of
the host. A bare name is looked up where it is asked for: four names are in both tables, and mean the gateway in one and the host
in the other.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from appliance.model.host_parameter import ONLY, HostParameter
from appliance.model.host_parameters import ALIASES, HOST_PARAMETERS
from appliance.model.tunables import TUNABLES

_SEPARATOR = re.compile(r"[./]")
_TUNABLE_PREFIXES = (("net", "ipv4", "vs"), ("ipv4", "vs"))
_HOST_PREFIXES = (("net", "ipv4", "netfilter"), ("net", "ipv4"), ("net", "netfilter"), ("net",))


class TypedName(NamedTuple):
    """A name without what stood before it."""

    name: str
    place: str = ONLY
    """The interface in it, or `all`; ONLY without one."""
    is_tunable: bool = True
    """Whether it can be that of a tunable: it has no prefix, or that of LVS."""
    is_host: bool = True
    """Whether it can be that of a host parameter: it has no prefix, or another one."""


def read_name(typed: str) -> TypedName:
    """What a typed name is about; whether there is such a name is not looked at.

    As for sysctl(8), the first separator says which one is meant: behind a dot, the dots of an interface are written as slashes.
    """
    parts = _parts(typed.strip().removeprefix("/proc/sys/"))
    for prefixes, is_tunable in ((_TUNABLE_PREFIXES, True), (_HOST_PREFIXES, False)):
        for prefix in prefixes:
            if tuple(parts[: len(prefix)]) == prefix and len(parts) > len(prefix):
                return _named(parts[len(prefix) :])._replace(is_tunable=is_tunable, is_host=not is_tunable)
    return _named(parts)


def _parts(text: str) -> list[str]:
    first = _SEPARATOR.search(text)
    if first is None or first[0] == "/":
        return text.split("/")
    return [part.replace("/", ".") for part in text.split(".")]


def _named(parts: Sequence[str]) -> TypedName:
    if parts[0] == "conf" and (place := ".".join(parts[1:-1])).strip("."):
        return TypedName(parts[-1], place, is_tunable=False)
    name = ".".join(parts)
    return TypedName(ALIASES.get(name, name))


def tunable_named(typed: str) -> str | None:
    """The name of the tunable that is meant; None when there is none."""
    read = read_name(typed)
    return read.name if read.is_tunable and read.name in TUNABLES else None


def host_parameter_named(typed: str) -> tuple[HostParameter, str] | None:
    """The host parameter that is meant, and the place in its name; None when there is none."""
    read = read_name(typed)
    parameter = HOST_PARAMETERS.get(read.name) if read.is_host else None
    if parameter is None or (read.place != ONLY and not parameter.per_interface):
        return None
    return parameter, read.place


def shown_name(parameter: HostParameter, place: str) -> str:
    """The name under which a host parameter, or one of its values, is shown and asked for."""
    return parameter.name if place == ONLY else f"conf.{place}.{parameter.name}"


def elsewhere(typed: str, *, asked_for_tunable: bool) -> str:
    """A sentence that says where a name lives that is not in the table it was asked for in; empty when it is in no table."""
    read = read_name(typed)
    if asked_for_tunable and (found := host_parameter_named(typed)):
        parameter, place = found
        here = f"/host/sysctl/{shown_name(parameter, place)}, [host.sysctl]"
        return f"{parameter.full_name(place)} is a parameter of the host: {here}{_for_sessions(parameter.tunables)}"
    if not asked_for_tunable and read.is_tunable and read.name in TUNABLES:
        return f"{read.name} is a tunable of the gateway: /sysctl/{read.name}, [sysctl]"
    return ""


def _for_sessions(names: Sequence[str]) -> str:
    return f"; for sessions of the gateway there are the tunables {', '.join(names)}" if names else ""
