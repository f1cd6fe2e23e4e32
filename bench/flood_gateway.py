"""What runs in the lab's gateway while it is flooded: the appliance, with the same web service behind SYNPROXY and without it."""

import argparse
import os
from pathlib import Path

from bench.topology import CLIENT_INTERFACE, HTTP_PORT, LOCAL_ADDRESSES, REAL_SERVERS, SERVER_INTERFACE, VIPS, module

UNPROTECTED_VIPS = ("203.0.113.14", "203.0.113.15", "203.0.113.16", "203.0.113.17")
"""Of the services without SYNPROXY; `bench.topology.VIPS` are those with it."""


def configuration() -> str:
    """The appliance's configuration."""
    services = [_service(vip, "true") for vip in VIPS] + [_service(vip, "false") for vip in UNPROTECTED_VIPS]
    return f"""\
[gateway]
client_interface = "{CLIENT_INTERFACE}"
server_interface = "{SERVER_INTERFACE}"

[local_addresses]
default = {list(LOCAL_ADDRESSES)}
{"".join(services)}"""


def _service(vip: str, synproxy: str) -> str:
    head = f'\n[[service]]\nname = "web-{vip}"\nvip = "{vip}"\nport = {HTTP_PORT}\nsynproxy = {synproxy}\n'
    return head + "".join(f'\n[[service.real_server]]\naddress = "{address}"\nport = {HTTP_PORT}\n' for address in REAL_SERVERS)


def main() -> None:
    """Take the command line that the lab gives to an appliance, and become one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--config", type=Path, required=True, help="the lab's copy of its configuration")
    parser.add_argument("--shards", required=True)
    options = parser.parse_args()
    config: Path = options.config.with_name("flood.toml")
    config.write_text(configuration())
    command = module("appliance", "run", "--config", str(config), "--shards", options.shards)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
