"""ICMP "host unreachable" messages about packets of sessions: `send`, and at the other end `receive`.

`icmp_errors.py send TARGET` reads a JSON list of [from, to] endpoint pairs on standard input and sends to the address of
`from` of each pair one error that quotes a packet of that flow. `icmp_errors.py receive COUNT` prints "ready", collects what
such errors quote, and prints that as JSON once COUNT different flows were seen.
"""

import json
import socket
import struct
import sys

from appliance.wire.checksum import checksum
from appliance.wire.craft import ip_packet
from appliance.wire.flow import destination_of, source_of
from appliance.wire.show import show_endpoint

HOST_UNREACHABLE = bytes((3, 1))


def endpoint(text: str) -> tuple[bytes, bytes]:
    """Address and port in network order."""
    address, _, port = text.rpartition(":")
    return socket.inet_aton(address), struct.pack("!H", int(port))


def send(flows: list[tuple[str, str]]) -> None:
    """Send one error for each flow, to the source of the flow."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for source_text, destination_text in flows:
            (source, sport), (destination, dport) = endpoint(source_text), endpoint(destination_text)
            quoted = ip_packet(source, destination, socket.IPPROTO_TCP, sport + dport + bytes(4) + bytes(12))
            message = HOST_UNREACHABLE + bytes(6) + quoted
            total = checksum(message).to_bytes(2, "big")
            raw.sendto(message[:2] + total + message[4:], (socket.inet_ntoa(source), 0))


def receive(count: int) -> list[str]:
    """Flows quoted by errors, each "from > to", until there are `count`."""
    seen: set[str] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        print("ready", flush=True)
        while len(seen) < count:
            packet = raw.recv(2048)
            if packet[20:22] != HOST_UNREACHABLE:
                continue
            quoted = packet[28:]
            source, destination = map(show_endpoint, (source_of(quoted[12:24]), destination_of(quoted[12:24])))
            seen.add(f"{source} > {destination}")
    return sorted(seen)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(json.loads(sys.argv[2]))
        print("{}")
    else:
        print(json.dumps(receive(int(sys.argv[2]))))
