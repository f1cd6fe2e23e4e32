"""Three namespaces: clients, the gateway, and behind it a router that drops what comes for thousands of real servers."""

import subprocess
from contextlib import ExitStack
from typing import NamedTuple

from bench.scale.configuration import FIRST_LOCAL_ADDRESS

ROUTER, LIVE_SERVER, LIVE_VIP = "192.0.2.9", "192.0.2.101", "203.0.113.80"
LIVE_PORT = 8080


class Namespaces(NamedTuple):
    """Their names."""

    gateway: str
    client: str
    servers: str


def inside(namespace: str, *command: str) -> str:
    """What a command prints there. Raises CalledProcessError."""
    entered = ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]
    return subprocess.run(entered, check=True, capture_output=True, text=True).stdout


def make_network(stack: ExitStack, names: Namespaces) -> None:
    """Make them; `stack` removes them. The dead real servers lie behind a router: on a network of the gateway itself each of them
    would take a place in the kernel's table of neighbours, and a machine has a thousand places."""
    gateway, client, servers = names
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        inside(name, "ip", "link", "set", "lo", "up")
    for interface, there, address in (("client0", client, "198.51.100.1/24"), ("server0", servers, "192.0.2.1/24")):
        inside(gateway, "ip", "link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", there)
        inside(gateway, "ip", "address", "add", address, "dev", interface)
        inside(gateway, "ip", "link", "set", interface, "up")
        inside(there, "ip", "link", "set", "eth0", "up")
    inside(client, "ip", "address", "add", "198.51.100.2/24", "dev", "eth0")
    inside(client, "ip", "route", "add", "default", "via", "198.51.100.1")
    for address in (f"{ROUTER}/24", f"{LIVE_SERVER}/24"):
        inside(servers, "ip", "address", "add", address, "dev", "eth0")
    inside(servers, "ip", "route", "add", f"{FIRST_LOCAL_ADDRESS}/24".replace(".1/", ".0/"), "dev", "eth0")
    inside(servers, "ip", "route", "add", "blackhole", "10.128.0.0/9")
    inside(servers, "sysctl", "-q", "net.ipv4.ip_forward=1")
    inside(gateway, "ip", "route", "add", "10.128.0.0/9", "via", ROUTER)
