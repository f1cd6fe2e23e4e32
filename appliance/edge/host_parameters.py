"""The parameters of the host as the kernel has them, in the network namespace that the appliance runs in.

Which of them there are depends on the kernel, on the namespace and on what is loaded: the answer for one that is missing, or that
cannot be written, says why.
"""

import os
from collections.abc import Iterable

from appliance.edge import sysctl
from appliance.edge.errors import EdgeError
from appliance.model.host_parameter import ALL, ONLY, HostParameter, HostReading, Values, parse_kernel_text, sysctl_name

_CONNTRACK = "netfilter/"
_OWNER_WRITES = 0o200
_HOST_ONLY = "in the host's first network namespace only, because it is one for the whole host; the appliance runs in another"


def read(parameter: HostParameter, interfaces: Iterable[str] = ()) -> HostReading:
    """One parameter at this moment: its value, or those of `all` and of these interfaces; one that is gone is left out.

    Raises EdgeError when the kernel has it and will not say.
    """
    places = (ALL, *dict.fromkeys(interfaces)) if parameter.per_interface else (ONLY,)
    values = {place: found for place in places if (found := _values(parameter.path_at(place))) is not None}
    if not values:
        return HostReading(parameter, {}, "absent", _why_absent(parameter))
    if parameter.refused:
        return HostReading(parameter, values, "read-only", f"the appliance does not write it: {parameter.refused}")
    if not all(_is_writable(parameter.path_at(place)) for place in values):
        return HostReading(parameter, values, "read-only", f"it can be changed {_HOST_ONLY}")
    return HostReading(parameter, values, "writable", "")


def _values(path: str) -> Values | None:
    try:
        text = sysctl.read(path)
        return parse_kernel_text(text)
    except EdgeError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    except ValueError as error:
        raise EdgeError(f"{sysctl_name(path)} is {text[:80]!r}, which is no list of numbers") from error


def _is_writable(path: str) -> bool:
    """Whether the kernel lets its owner write it, and with it whoever has CAP_NET_ADMIN."""
    try:
        return bool((sysctl.NET / path).stat().st_mode & _OWNER_WRITES)
    except OSError:
        return False


def _why_absent(parameter: HostParameter) -> str:
    kernel = f"this kernel ({os.uname().release})"
    if parameter.until:
        return f"{kernel} has it no more: Linux {parameter.until} removed it"
    if parameter.path.startswith(_CONNTRACK) and not (sysctl.NET / _CONNTRACK / "nf_conntrack_count").exists():
        return "connection tracking is not loaded, so the host tracks nothing"
    if parameter.of_host:
        return f"it is there {_HOST_ONLY}"
    since = f"; it is there since Linux {parameter.since}" if parameter.since else ""
    return f"{kernel} does not have it{since}"
