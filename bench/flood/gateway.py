"""What runs in the lab's gateway while it is flooded: the same web service behind SYNPROXY and without it."""

from bench.rig.gateway import service, with_services
from bench.rig.topology import HTTP_PORT, REAL_SERVERS, VIPS

UNPROTECTED_VIPS = ("203.0.113.14", "203.0.113.15", "203.0.113.16", "203.0.113.17")
"""VIPs of the services without SYNPROXY; those of `bench.rig.topology.VIPS` have it."""


def configuration() -> str:
    """The appliance's configuration."""
    proxied, plain = (("true", vip) for vip in VIPS), (("false", vip) for vip in UNPROTECTED_VIPS)
    services = (
        service(f"web-{vip}", vip, HTTP_PORT, REAL_SERVERS, f"synproxy = {synproxy}") for synproxy, vip in (*proxied, *plain)
    )
    return with_services(*services)
