"""Checks of the gateway's interfaces and of the ways to its real servers."""

from collections.abc import Iterator
from ipaddress import IPv4Interface

from appliance.doctor.commands import change_link, route, turn_off_offload, write_tunable
from appliance.doctor.facts import Path, Setup, Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import unanswered
from appliance.ipc.plan import RealServerPlan, ServicePlan

LARGEST_MTU = 3840
"""A longer packet is not copied whole to a worker (see `edge.nfqueue`)."""

CLIENT_OPTION_BYTES = 8
"""Size of the client-address option."""

SILENT_SESSIONS = 3
"""So many sessions without one packet of the real server are no chance."""

_HOST_BITS = 32
"""An address with a prefix of this length is on no network."""


def interfaces(snapshot: Snapshot) -> Iterator[Finding]:
    """An interface of the configuration that is not there, or is down."""
    assert snapshot.setup is not None
    assert snapshot.interfaces is not None
    for name in snapshot.setup.sides.all:
        found = snapshot.interfaces.get(name)
        if found is None:
            yield Finding(
                Severity.ERROR,
                name,
                f"interface {name} does not exist",
                "it stands in [gateway] of the configuration",
                "Make it, or name the right one.",
            )
        elif not found.is_up:
            yield Finding(
                Severity.ERROR,
                name,
                f"interface {name} is down",
                "the kernel does not list it as up",
                "Turn it on; when it has no carrier, look at the cable and the switch.",
                (change_link(name, "up"),),
            )


def receive_offload(snapshot: Snapshot) -> Iterator[Finding]:
    """GRO is no problem: what it has merged can be taken apart as it was."""
    assert snapshot.interfaces is not None
    for name, found in snapshot.interfaces.items():
        if found.merges_for_good:
            yield Finding(
                Severity.ERROR,
                name,
                f"{name} merges packets in a way that cannot be undone (LRO), so they cannot be forwarded as they were",
                "large-receive-offload is on",
                "Turn it off, for good in the configuration of the network. GRO may stay on.",
                (turn_off_offload(name, "lro"),),
            )


def large_mtu(snapshot: Snapshot) -> Iterator[Finding]:
    """Packets that come to a worker are copied up to a limit."""
    assert snapshot.interfaces is not None
    for name, found in snapshot.interfaces.items():
        if found.mtu > LARGEST_MTU:
            yield Finding(
                Severity.WARNING,
                name,
                f"{name} lets packets pass that are too long for a worker and are dropped there (truncated)",
                f"MTU {found.mtu}, at most {LARGEST_MTU}",
                "Lower it here and on the other hosts of that network.",
                (change_link(name, "mtu", str(LARGEST_MTU)),),
            )


def option_room(snapshot: Snapshot) -> Iterator[Finding]:
    """A full segment of a client grows by the option, unless its MSS was lowered for that."""
    assert snapshot.setup is not None
    assert snapshot.interfaces is not None
    assert snapshot.paths is not None
    tunables = snapshot.setup.tunables
    mtus = [snapshot.interfaces[name].mtu for name in snapshot.setup.sides.client_interfaces if name in snapshot.interfaces]
    if not tunables["fullnat_toa_entry"] or tunables["fullnat_mss_adjust_entry"] or not mtus:
        return
    needed = max(mtus) + CLIENT_OPTION_BYTES
    small = {address: path for address, path in snapshot.paths.items() if path is not None and path.mtu < needed}
    if small:
        address, path = min(small.items(), key=lambda item: item[1].mtu)
        yield Finding(
            Severity.WARNING,
            address,
            "full packets of clients have no room for the client-address option on the way to a real server",
            f"MTU {path.mtu} to {address}, {max(mtus)} on the client side, the option has {CLIENT_OPTION_BYTES} bytes, and "
            "fullnat_mss_adjust_entry is 0",
            "Let the gateway lower the MSS of clients by the option, or raise the MTU on the server side.",
            (write_tunable("fullnat_mss_adjust_entry", 1),),
        )


def routes(snapshot: Snapshot) -> Iterator[Finding]:
    """A real server that cannot be reached, or only on the wrong side."""
    assert snapshot.setup is not None
    assert snapshot.paths is not None
    sides, in_use = snapshot.setup.sides, _in_use(snapshot.setup)
    for address, path in snapshot.paths.items():
        if path is not None and path.interface in sides.server_interfaces:
            continue
        where = "there is no route to it" if path is None else f"it is reached through {path.interface}"
        yield Finding(
            Severity.ERROR if address in in_use else Severity.NOTE,
            address,
            f"real server {address} cannot be used: {where}, which is no interface of the server side"
            if path is not None
            else f"real server {address} cannot be used: {where}",
            f"server side: {', '.join(sides.server_interfaces)}",
            "The command is right for a real server on the network of that interface; behind a router, say `via` in it. Or name "
            "the interface in [gateway] server_interfaces.",
            (route(address, interface=sides.server_interfaces[0]),),
        )


def neighbours(snapshot: Snapshot) -> Iterator[Finding]:
    """The kernel has asked for the address of a real server, or of its router, and nobody has answered."""
    assert snapshot.setup is not None
    assert snapshot.neighbours is not None
    assert snapshot.paths is not None
    in_use = _in_use(snapshot.setup)
    for address, path in snapshot.paths.items():
        if path is None:
            continue
        next_hop = path.via or address
        if snapshot.neighbours.get(next_hop) == "FAILED":
            who = f"real server {address}" if next_hop == address else f"router {next_hop} to real server {address}"
            yield Finding(
                Severity.ERROR if address in in_use else Severity.NOTE,
                address,
                f"{who} does not answer ARP on {path.interface}: it is down, or on another network",
                f"neighbour {next_hop} is FAILED",
                "Start it, or set its weight to 0 in the configuration and reload, so that clients are not sent there.",
            )


def _in_use(setup: Setup) -> set[str]:
    """The real servers that get new sessions; one that is drained may be switched off."""
    return {server.address for service in setup.services for server in service.real_servers if server.weight}


def silent_real_servers(snapshot: Snapshot) -> Iterator[Finding]:
    """Sessions are opened to it and not one packet comes back, although it is on the network."""
    assert snapshot.setup is not None
    assert snapshot.samples is not None
    for service, server in _tcp_servers(snapshot):
        sessions = unanswered(snapshot.samples, server.slot)
        if sessions < SILENT_SESSIONS:
            continue
        path = (snapshot.paths or {}).get(server.address)
        state = (snapshot.neighbours or {}).get((path.via or server.address) if path else server.address, "")
        if state == "FAILED":
            continue  # that is a finding of its own
        yield Finding(
            Severity.ERROR,
            server.address,
            f"real server {server.address}:{server.port} of {service.name} answers nothing: its answers do not come back to this "
            "gateway, or it drops what it is sent",
            f"{sessions} sessions since its last packet" + (f"; as a neighbour it is {state}" if state else ""),
            "Most often it has no route to the local addresses, or sends its answers past the gateway (one-armed). Then the "
            "commands mend it, on the real server. Else look at its firewall, and whether its service runs.",
            _routes_back(snapshot, service, path),
            run_on=server.address,
        )


def _tcp_servers(snapshot: Snapshot) -> Iterator[tuple[ServicePlan, RealServerPlan]]:
    """A UDP service may have nothing to answer."""
    assert snapshot.setup is not None
    for service in snapshot.setup.services:
        for server in service.real_servers if service.protocol == "tcp" else ():
            yield service, server


def _routes_back(snapshot: Snapshot, service: ServicePlan, path: Path | None) -> tuple[str, ...]:
    """Commands for the real server: routes to the local addresses, by the gateway's own address on their common network.

    None when there is no such address, or a router is in between, which then has to have the routes.
    """
    if path is None or path.via or not snapshot.interfaces or path.interface not in snapshot.interfaces:
        return ()
    addresses = map(IPv4Interface, snapshot.interfaces[path.interface].addresses)
    on_network = [str(address.ip) for address in addresses if address.network.prefixlen < _HOST_BITS]
    gateways = [address for address in on_network if address not in service.local_addresses]
    via = path.source if path.source in gateways else next(iter(gateways), "")
    return tuple(route(local, via=via) for local in service.local_addresses) if via else ()


CHECKS = (
    Check(
        "interface_missing",
        interfaces,
        ("setup", "interfaces"),
        "An error for each interface of [gateway] that does not exist, or is down.",
        "Nothing arrives there.",
    ),
    Check(
        "lro_on",
        receive_offload,
        ("interfaces",),
        "An error for each interface of both sides with large-receive-offload. GRO is not reported: it is undone before a worker "
        "sees the packet.",
        "Merged packets are longer than the next network allows, and their boundaries are lost.",
    ),
    Check(
        "mtu_too_large",
        large_mtu,
        ("interfaces",),
        f"A warning for each interface of both sides with an MTU above {LARGEST_MTU}.",
        "A longer packet is dropped by the worker as truncated.",
    ),
    Check(
        "no_room_for_client_address",
        option_room,
        ("setup", "interfaces", "paths"),
        f"A warning when fullnat_toa_entry is 1, fullnat_mss_adjust_entry is 0, and the MTU to a real server is not "
        f"{CLIENT_OPTION_BYTES} bytes above that of the client side.",
        "Full packets are sent on without the option, and the real server does not learn its client.",
    ),
    Check(
        "real_server_unreachable",
        routes,
        ("setup", "paths"),
        "An error for each real server with a weight above 0, and a note for others, to which there is no route, or one out "
        "of an interface that is not of the server side.",
        "Packets to it go nowhere, or its answers are dropped because they come from the wrong side.",
    ),
    Check(
        "real_server_no_arp",
        neighbours,
        ("setup", "paths", "neighbours"),
        "An error for each real server with a weight above 0, and a note for others, whose own neighbour entry, or that of "
        "its router, is FAILED.",
        "Its sessions wait until they time out.",
    ),
    Check(
        "real_server_silent",
        silent_real_servers,
        ("setup", "samples", "running"),
        f"An error for each TCP real server that has sent no packet while {SILENT_SESSIONS} sessions or more were opened to "
        "it, the "
        "youngest of them three seconds ago, unless it does not answer ARP either.",
        "Its answers have no route back to the local addresses, or go around the gateway, which knows no session without them.",
    ),
)
