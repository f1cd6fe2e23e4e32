"""What runs in the lab's gateway: the appliance, with services for nginx and iperf3.

The lab occupies every real server of its own configuration with its own HTTP server. So the lab gets the shipped configuration,
and the appliance in it this one: the same network, other ports on the real servers.
"""

import argparse
import os
from pathlib import Path

from bench.rig.topology import (
    BULK_PORT,
    CLIENT_INTERFACE,
    HTTP_PORT,
    LOCAL_ADDRESSES,
    REAL_SERVERS,
    SERVER_INTERFACE,
    VIPS,
    module,
)


def configuration() -> str:
    """The appliance's configuration: a web service on each VIP, and one for bulk traffic to the first real server."""
    web = (service(f"web{number}", vip, HTTP_PORT, REAL_SERVERS) for number, vip in enumerate(VIPS))
    # One real server only: iperf3 opens a connection for control and another for data, and both must end at the same place.
    return with_services(*web, service("bulk", VIPS[0], BULK_PORT, REAL_SERVERS[:1]))


def with_services(*services: str) -> str:
    """A configuration with these services, in the network of the lab."""
    return f"""\
[gateway]
client_interface = "{CLIENT_INTERFACE}"
server_interface = "{SERVER_INTERFACE}"

[local_addresses]
default = {list(LOCAL_ADDRESSES)}
{"".join(services)}"""


def service(name: str, vip: str, port: int, real_servers: tuple[str, ...], *lines: str) -> str:
    """A service whose real servers listen on the same port; `lines` are further keys of it."""
    head = f'\n[[service]]\nname = "{name}"\nvip = "{vip}"\nport = {port}\n' + "".join(f"{line}\n" for line in lines)
    return head + "".join(f'\n[[service.real_server]]\naddress = "{address}"\nport = {port}\n' for address in real_servers)


def become_appliance(configuration: str) -> None:
    """Take the command line that the lab gives to an appliance, and become one, with a configuration of our own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--config", type=Path, required=True, help="the lab's copy of its configuration")
    parser.add_argument("--shards", required=True)
    options = parser.parse_args()
    config: Path = options.config.with_name("bench.toml")
    config.write_text(configuration)
    command = module("appliance", "run", "--config", str(config), "--shards", options.shards)
    os.execv(command[0], command)


if __name__ == "__main__":
    become_appliance(configuration())
