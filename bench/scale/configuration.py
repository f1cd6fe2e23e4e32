"""The text of a configuration with many services, each with a VIP and real servers of its own. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address

FIRST_VIP = IPv4Address("10.64.0.1")
FIRST_LOCAL_ADDRESS = IPv4Address("10.65.0.1")
FIRST_REAL_SERVER = IPv4Address("10.128.0.1")
PORT, SERVER_PORT = 80, 8080

LOCAL_ADDRESSES = 8

GATEWAY = """\
[gateway]
shards = 2
client_interface = "client0"
server_interface = "server0"
"""

TCP_CHECK = 'type = "tcp"'
"""A health check with the intervals that are usual."""


def many_services(
    services: int,
    per_service: int,
    *,
    gateway: str = GATEWAY,
    check: str = "",
    scheduler: str = "rr",
    first_real_server: IPv4Address = FIRST_REAL_SERVER,
) -> str:
    """So many services, with so many real servers each, all at addresses of their own. `check` are the keys of their
    `health_check`; they have none when it is empty."""
    return "\n".join((gateway, pools(), *service_tables(services, per_service, check, scheduler, first_real_server)))


def pools() -> str:
    """`[local_addresses]` with a pool that all services share."""
    addresses = ", ".join(f'"{FIRST_LOCAL_ADDRESS + number}"' for number in range(LOCAL_ADDRESSES))
    return f"[local_addresses]\ndefault = [{addresses}]\n"


def service_tables(
    services: int, per_service: int, check: str = "", scheduler: str = "rr", first_real_server: IPv4Address = FIRST_REAL_SERVER
) -> Iterator[str]:
    """The table of each service with all that belongs to it."""
    for number in range(services):
        yield f'[[service]]\nname = "idle-{number}"\nvip = "{FIRST_VIP + number}"\nport = {PORT}\nscheduler = "{scheduler}"\n'
        if check:
            yield f"[service.health_check]\n{check}\n"
        for place in range(per_service):
            address = first_real_server + (number * per_service + place)
            yield f'[[service.real_server]]\naddress = "{address}"\nport = {SERVER_PORT}\n'
