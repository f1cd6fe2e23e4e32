"""Packets that the gateway gets from the network of a host, and that no host has sent."""

import json
import socket
from collections.abc import Sequence

from dpkt.ethernet import ETH_TYPE_IP

from appliance.lab import namespaces
from tests.lab.conftest import RunningLab


def gateway_mac(lab: RunningLab, role: str) -> bytes:
    """The link address of the gateway on the network of a host."""
    names = {link["ifname"]: link["address"] for link in json.loads(lab.run("gateway", "ip", "-json", "link"))}
    return bytes.fromhex(names["client0" if role == "client" and "client0" in names else "server0"].replace(":", ""))


def inject(lab: RunningLab, role: str, packets: Sequence[bytes]) -> None:
    """Give these packets to the gateway from the network of a host, whatever its kernel thinks of their sources."""
    mac = gateway_mac(lab, role)
    with namespaces.call_inside(lab.namespace(role), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)) as wire:
        for packet in packets:
            wire.sendto(packet, ("eth0", ETH_TYPE_IP, 0, 0, mac))
