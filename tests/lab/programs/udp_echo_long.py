"""`udp_echo_long.py BYTES`: send one datagram of so many bytes and print as JSON whether the same ones came back."""

import json
import os
import socket
import sys

SILENCE_AFTER_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""


def main(size_bytes: int) -> dict[str, bool]:
    """Whether the same bytes came back, after the line that the server puts before them."""
    sent = os.urandom(size_bytes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(SILENCE_AFTER_S)
        udp.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        udp.send(sent)
        return {"same": udp.recv(1 << 16).partition(b"\n")[2] == sent}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
