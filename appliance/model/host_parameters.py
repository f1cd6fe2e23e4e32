"""Every parameter of the host's kernel that the appliance reads, explains and, where that is safe, writes: the allow list.

Others are none of its business. A test pins the names, and the reference is made from this.
"""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.model.host_gateway import GATEWAY_PARAMETERS
from appliance.model.host_parameter import HostParameter, Values
from appliance.model.host_tcp import TCP_PARAMETERS

HOST_PARAMETERS: Mapping[str, HostParameter] = MappingProxyType(
    {parameter.name: parameter for parameter in (*TCP_PARAMETERS, *GATEWAY_PARAMETERS)}
)
"""All of them by name, in the order in which views show them."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "ip_conntrack_max": "nf_conntrack_max",
        "ip_conntrack_tcp_timeout_established": "nf_conntrack_tcp_timeout_established",
        "ip_conntrack_buckets": "nf_conntrack_buckets",
    }
)
"""Names of old kernels, in which many instructions on the web are written."""

_LEAST_PORTS, _FIRST_PORT, _LAST_PORT = 4096, 1024, 65_535


def recommended(parameter: HostParameter, tunables: Mapping[str, int]) -> Values | None:
    """The value for the gateway with these tunables; None where nothing needs to be changed, or only the operator can know.

    Only the range of local ports depends on the gateway: it is the larger part of the ports beside those of sessions. When that
    has less than 4096 ports, there is no recommendation: an overlap does no harm as long as no program of the host opens
    connections from a local address.
    """
    if parameter.name != "ip_local_port_range":
        return parameter.recommended
    beside = [(_FIRST_PORT, tunables["fullnat_lport_min"] - 1), (tunables["fullnat_lport_max"] + 1, _LAST_PORT)]
    first, last = max(beside, key=lambda ports: ports[1] - ports[0])
    return (first, last) if last - first + 1 >= _LEAST_PORTS else None
