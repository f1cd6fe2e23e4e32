"""What runs in the lab's gateway while it is flooded: the same web service behind SYNPROXY, as shipped, and without SYNPROXY."""

from collections.abc import Mapping, Sequence

from bench.modes.appliance import WITHOUT_PREPARED
from bench.rig.gateway import service, with_services
from bench.rig.topology import HTTP_PORT, REAL_SERVERS, VIPS

UNPROTECTED_VIPS = ("203.0.113.14", "203.0.113.15", "203.0.113.16", "203.0.113.17")
"""VIPs of the services without SYNPROXY; those of `bench.rig.topology.VIPS` have it."""

SHIPPED_VIPS = ("203.0.113.24", "203.0.113.25", "203.0.113.26", "203.0.113.27")
"""VIPs of the services whose configuration says nothing of SYNPROXY."""

FRONT_DOOR_VIPS = ("203.0.113.44", "203.0.113.45", "203.0.113.46", "203.0.113.47")
"""VIPs of the services with SYNPROXY whose SYNs the kernel answers."""

CONTROL_VIPS = ("203.0.113.64", "203.0.113.65", "203.0.113.66", "203.0.113.67")
"""VIPs of the same services, while another address is flooded."""

WORKERS_VIPS = ("203.0.113.54", "203.0.113.55", "203.0.113.56", "203.0.113.57")
"""VIPs of the services whose connections workers open, and never the kernel."""

_BY_WORKERS = "\n[sysctl]\nsynproxy_in_kernel = 0\nstrays_in_kernel = 0\n"
"""All that is SYNPROXY is done by workers."""


def configuration(*gateway_lines: str, api: str = "") -> str:
    """The configuration of an appliance whose workers answer SYNs; the arguments are as those of
    `bench.rig.gateway.configuration`."""
    return _with_web({VIPS: ("synproxy = true",), UNPROTECTED_VIPS: ("synproxy = false",)}, gateway_lines, api) + _BY_WORKERS


def answering_in_kernel(*gateway_lines: str, vips: tuple[str, ...] = FRONT_DOOR_VIPS, api: str = "") -> str:
    """That of one whose kernel answers SYNs, as shipped."""
    return _with_web({vips: ("synproxy = true",)}, gateway_lines, api)


def as_shipped(*gateway_lines: str, api: str = "") -> str:
    """That of one whose services say nothing of SYNPROXY, and whose tunables have their defaults."""
    return _with_web({SHIPPED_VIPS: ()}, gateway_lines, api)


def opened_by_workers(*gateway_lines: str, api: str = "") -> str:
    """The same services, for an appliance whose workers open all connections and answer all SYNs."""
    return _with_web({WORKERS_VIPS: ()}, gateway_lines, api) + _BY_WORKERS + WITHOUT_PREPARED.removeprefix("\n[sysctl]\n")


def _with_web(lines_of: Mapping[tuple[str, ...], tuple[str, ...]], gateway_lines: Sequence[str], api: str) -> str:
    """With a web service on each of these VIPs, and its further keys."""
    return with_services(
        *(service(f"web-{vip}", vip, HTTP_PORT, REAL_SERVERS, *lines) for vips, lines in lines_of.items() for vip in vips),
        gateway_lines=gateway_lines,
        api=api,
    )
