"""What runs in the lab's gateway: the appliance, with a configuration of the benchmark's own.

The lab puts its own HTTP server on every real server of its configuration. So the lab gets the shipped configuration, and the
appliance in it gets another: the same network, other ports on the real servers. `python -m bench.rig.gateway FILE` stands in the
place of the appliance's own program.
"""

import argparse
import os
import sys
from collections.abc import Sequence
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


def configuration(*gateway_lines: str, api: str = "") -> str:
    """The appliance's configuration: a web service on each VIP, and services for bulk traffic to the first real server.

    The arguments are further keys of `[gateway]`, and the addresses of the admin API, if they are not the usual ones.
    """
    web = (service(f"web{number}", vip, HTTP_PORT, REAL_SERVERS) for number, vip in enumerate(VIPS))
    # One real server only: iperf3 opens a connection for control and another for data, and both must end at the same place.
    protocols = ("tcp", "udp")
    bulk = (service(f"bulk-{one}", VIPS[0], BULK_PORT, REAL_SERVERS[:1], f'protocol = "{one}"') for one in protocols)
    return with_services(*web, *bulk, gateway_lines=gateway_lines, api=api)


def with_services(*services: str, gateway_lines: Sequence[str] = (), api: str = "") -> str:
    """A configuration with these services, in the network of the lab."""
    interfaces = (f'client_interface = "{CLIENT_INTERFACE}"', f'server_interface = "{SERVER_INTERFACE}"')
    head = ("[gateway]", *interfaces, *gateway_lines, "", "[local_addresses]", f"default = {list(LOCAL_ADDRESSES)}")
    admin = ("", "[api]", f"listen = {api}") if api else ()
    return "\n".join((*head, *admin, "".join(services)))


def service(name: str, vip: str, port: int, real_servers: tuple[str, ...], *lines: str, server_port: int = 0) -> str:
    """A service; `lines` are further keys of it. Real servers listen on the same port, unless `server_port` is another."""
    head = f'\n[[service]]\nname = "{name}"\nvip = "{vip}"\nport = {port}\n' + "".join(f"{line}\n" for line in lines)
    to = server_port or port
    return head + "".join(f'\n[[service.real_server]]\naddress = "{address}"\nport = {to}\n' for address in real_servers)


def appliance_command(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command that starts an appliance with a configuration of our own.

    `arguments` are the file of that configuration, and what the lab gives to an appliance. SystemExit for anything else.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.rig.gateway", description=__doc__)
    parser.add_argument("own_config", type=Path, help="the configuration to run with")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--config", type=Path, required=True, help="the lab's copy of its own configuration")
    parser.add_argument("--shards", required=True)
    options = parser.parse_args(arguments)
    return module("appliance", "run", "--config", str(options.own_config), "--shards", options.shards)


def main() -> None:
    """Become an appliance."""
    command = appliance_command(sys.argv[1:])
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
