"""`ttl_exceeded.py tcp|udp`: a live session, then a packet of it with TTL 1. Prints as JSON who sent the ICMP error about that
packet, what it quotes, and whether the session still answers afterwards.
"""

import json
import os
import socket
import sys

from appliance.wire.flow import destination_of, source_of
from appliance.wire.show import show_endpoint

TIME_EXCEEDED = bytes((11, 0))
ERROR_AFTER_S = 20.0
QUESTION = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


def main(protocol: str) -> dict[str, object]:
    """The TTL stays 1 until the error came, so that no packet in between reaches the real server."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as errors,
        socket.socket(socket.AF_INET, kind) as ours,
    ):
        for waiting in (errors, ours):
            waiting.settimeout(ERROR_AFTER_S)
        ours.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        ours.send(QUESTION)
        ours.recv(4096)
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        ours.send(QUESTION)
        while (packet := errors.recv(2048))[20:22] != TIME_EXCEEDED:
            pass
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        if protocol == "udp":
            ours.send(QUESTION)
        return {
            "from": socket.inet_ntoa(packet[12:16]),
            "quoted": [show_endpoint(source_of(packet[40:52])), show_endpoint(destination_of(packet[40:52]))],
            "client": "{}:{}".format(*ours.getsockname()),
            "answered": bool(ours.recv(4096)),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
