"""The services that connections are opened to: one by turns, and one by turns with weights."""

from typing import NamedTuple

from bench.rig.gateway import with_services
from bench.rig.topology import HTTP_PORT, QUEUED_REAL_SERVERS, REAL_SERVERS, VIPS

FIRST_PORT = 5000
"""The lowest local port."""
PORTS_MIN, PORTS_MAX = 256, 60_000
"""With fewer, a shard may have none: their low bits say whose they are."""

_SERVERS = (*REAL_SERVERS, QUEUED_REAL_SERVERS[0])
"""The third one is a second address of the first one's host."""


class Turns(NamedTuple):
    """A service, and by real server its weight."""

    name: str
    vip: str
    scheduler: str
    weights: dict[str, int]


SERVICES = (
    Turns("turns", VIPS[0], "rr", dict.fromkeys(_SERVERS, 1)),
    Turns("weighted", VIPS[1], "wrr", dict(zip(_SERVERS, (1, 2, 3), strict=True))),
)


def configuration(local_ports: int) -> str:
    """The appliance's configuration: prepared admissions, and so many local ports for each local address and real server."""
    text = with_services(*map(_service, SERVICES), gateway_lines=('lane = "required"',))
    last = FIRST_PORT + local_ports - 1
    return f"{text}\n[sysctl]\nprepared_admissions = 1\nfullnat_lport_min = {FIRST_PORT}\nfullnat_lport_max = {last}\n"


def _service(service: Turns) -> str:
    keys = f'name = "{service.name}"\nvip = "{service.vip}"\nport = {HTTP_PORT}\nscheduler = "{service.scheduler}"\n'
    servers = (
        f'\n[[service.real_server]]\naddress = "{address}"\nport = {HTTP_PORT}\nweight = {weight}\n'
        for address, weight in service.weights.items()
    )
    return f"\n[[service]]\n{keys}{''.join(servers)}"
