"""The two services that are compared: on the same VIP, to the same real servers of the lab, one of them behind SYNPROXY."""

from bench.rig.gateway import service
from bench.rig.topology import LAB_CONFIG, REAL_SERVERS, VIPS

PORTS = {"proxied": 80, "plain": 8000}
"""The port of each service, by its name."""

_SERVER_PORT = 8080
_SYNPROXY = {"proxied": "true", "plain": "false"}


def lab_configuration() -> str:
    """The configuration of the lab, whose own HTTP servers take part, and of the appliance in it."""
    network = LAB_CONFIG.read_text().partition("[[service]]")[0]
    services = (
        service(name, VIPS[0], port, REAL_SERVERS, f"synproxy = {_SYNPROXY[name]}", server_port=_SERVER_PORT)
        for name, port in PORTS.items()
    )
    return network + "".join(services)
