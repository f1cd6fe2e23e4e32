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

WORKERS_VIPS = ("203.0.113.54", "203.0.113.55", "203.0.113.56", "203.0.113.57")
"""VIPs of the services whose connections workers open, and never the kernel."""

AUTO_VIPS = ("203.0.113.64", "203.0.113.65", "203.0.113.66", "203.0.113.67")
"""VIPs of the services in "auto", whose connections the kernel opens, and whose SYNs it answers while they are engaged."""


def configuration(*gateway_lines: str, api: str = "") -> str:
    """The appliance's configuration; the arguments are as those of `bench.rig.gateway.configuration`."""
    return _with_web({VIPS: ("synproxy = true",), UNPROTECTED_VIPS: ("synproxy = false",), SHIPPED_VIPS: ()}, gateway_lines, api)


def answering_in_kernel(*gateway_lines: str, api: str = "") -> str:
    """The same for an appliance whose kernel answers SYNs."""
    return _with_web({FRONT_DOOR_VIPS: ("synproxy = true",)}, gateway_lines, api) + "\n[sysctl]\nsynproxy_in_kernel = 1\n"


def opened_by_workers(*gateway_lines: str, api: str = "") -> str:
    """Services as shipped, for an appliance whose workers open all connections."""
    return _with_web({WORKERS_VIPS: ()}, gateway_lines, api) + WITHOUT_PREPARED


def auto_in_kernel(*gateway_lines: str, api: str = "") -> str:
    """The same for an appliance whose kernel answers SYNs as well, while a service is engaged."""
    text = _with_web({AUTO_VIPS: ('synproxy = "auto"',)}, gateway_lines, api)
    return f"{text}\n[sysctl]\nprepared_admissions = 1\nsynproxy_in_kernel = 1\n"


def _with_web(lines_of: Mapping[tuple[str, ...], tuple[str, ...]], gateway_lines: Sequence[str], api: str) -> str:
    """With a web service on each of these VIPs, and its further keys."""
    return with_services(
        *(service(f"web-{vip}", vip, HTTP_PORT, REAL_SERVERS, *lines) for vips, lines in lines_of.items() for vip in vips),
        gateway_lines=gateway_lines,
        api=api,
    )
