"""What runs in the lab's gateway while it is flooded: the appliance, with the same web service behind SYNPROXY and without it."""

from bench.rig.gateway import become_appliance, service, with_services
from bench.rig.topology import HTTP_PORT, REAL_SERVERS, VIPS

UNPROTECTED_VIPS = ("203.0.113.14", "203.0.113.15", "203.0.113.16", "203.0.113.17")
"""Of the services without SYNPROXY; `bench.rig.topology.VIPS` are those with it."""


def configuration() -> str:
    """The appliance's configuration."""
    proxied, plain = (("true", vip) for vip in VIPS), (("false", vip) for vip in UNPROTECTED_VIPS)
    services = (
        service(f"web-{vip}", vip, HTTP_PORT, REAL_SERVERS, f"synproxy = {synproxy}") for synproxy, vip in (*proxied, *plain)
    )
    return with_services(*services)


if __name__ == "__main__":
    become_appliance(configuration())
