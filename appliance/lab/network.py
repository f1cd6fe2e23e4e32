"""Configures the kernel as a plan says: links, addresses and routes, through netlink.

Both ends of each veth pair are created inside their namespaces, so that the machine's own namespace never has an interface
of the lab.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from appliance.lab import namespaces
from appliance.lab.errors import LabError
from appliance.lab.names import REAL_SERVERS, ROLES, LabName
from appliance.lab.plan import END_INTERFACE, HostPlan, Plan

_INTERFACE_NAME_MAX = 15
_SCOPE_LINK = 253  # RT_SCOPE_LINK: the destination is on this link

_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    # Where br_netfilter is loaded, bridged frames would pass the IP rules of the gateway before they are routed, and again after.
    "net/bridge/bridge-nf-call-iptables": "0",
}


def build_network(name: LabName, plan: Plan) -> None:
    """Configure the four namespaces of lab `name`, which must exist. Raises LabError or OSError."""
    for role in ROLES:
        namespaces.call_inside(name.namespace(role), _set_sysctls)
    namespaces.call_inside(name.namespace("gateway"), partial(_make_links, name, plan))
    for role in ROLES:
        namespaces.call_inside(name.namespace(role), partial(_configure, plan.hosts[role]))


def _set_sysctls() -> None:
    for key, value in _SYSCTLS.items():
        path = Path("/proc/sys") / key
        if path.exists():  # a kernel without IPv6 or bridge filtering does not have the file
            path.write_text(value)


def _make_links(name: LabName, plan: Plan) -> None:
    is_one_armed = plan.client_interface == plan.server_interface
    with _netlink() as netlink:
        if not is_one_armed:
            _add_veth(netlink, plan.client_interface, name.namespace("client"))
        netlink.link("add", ifname=plan.server_interface, kind="bridge")
        bridge = _index(netlink, plan.server_interface)
        for role in ("client", *REAL_SERVERS) if is_one_armed else REAL_SERVERS:
            port = f"{plan.server_interface[: _INTERFACE_NAME_MAX - len(role) - 1]}-{role}"
            _add_veth(netlink, port, name.namespace(role))
            netlink.link("set", index=_index(netlink, port), master=bridge, state="up")


def _add_veth(netlink: Any, interface: str, peer_namespace: str) -> None:
    peer = {"ifname": END_INTERFACE, "net_ns_fd": peer_namespace}
    netlink.link("add", ifname=interface, kind="veth", peer=peer)


def _configure(host: HostPlan) -> None:
    with _netlink() as netlink:
        for interface in ("lo", *host.interfaces):
            netlink.link("set", index=_index(netlink, interface), state="up")
        for interface, address in host.addresses:
            index = _index(netlink, interface)
            netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
        for route in host.routes:
            next_hop = {"gateway": str(route.via)} if route.via else {"scope": _SCOPE_LINK}
            netlink.route("add", dst=str(route.destination), oif=_index(netlink, route.interface), **next_hop)


@contextmanager
def _netlink() -> Iterator[Any]:
    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise LabError(f"the kernel refused a part of the lab's network: {error}") from error


def _index(netlink: Any, interface: str) -> int:
    index: int = netlink.link_lookup(ifname=interface)[0]
    return index
