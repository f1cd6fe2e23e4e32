"""What runs in the lab's gateway while it is flooded: the same web service behind SYNPROXY, as shipped, and without SYNPROXY."""

from bench.rig.gateway import service, with_services
from bench.rig.topology import HTTP_PORT, REAL_SERVERS, VIPS

UNPROTECTED_VIPS = ("203.0.113.14", "203.0.113.15", "203.0.113.16", "203.0.113.17")
"""VIPs of the services without SYNPROXY; those of `bench.rig.topology.VIPS` have it."""

SHIPPED_VIPS = ("203.0.113.24", "203.0.113.25", "203.0.113.26", "203.0.113.27")
"""VIPs of the services whose configuration says nothing of SYNPROXY."""


def configuration(*gateway_lines: str, api: str = "") -> str:
    """The appliance's configuration; the arguments are as those of `bench.rig.gateway.configuration`."""
    lines_of = {VIPS: ("synproxy = true",), UNPROTECTED_VIPS: ("synproxy = false",), SHIPPED_VIPS: ()}
    return with_services(
        *(service(f"web-{vip}", vip, HTTP_PORT, REAL_SERVERS, *lines) for vips, lines in lines_of.items() for vip in vips),
        gateway_lines=gateway_lines,
        api=api,
    )
