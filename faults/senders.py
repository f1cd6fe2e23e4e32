"""`python -m faults.senders HOST PORT COUNT`: one datagram from each of COUNT ports of this client.

With so many senders the gateway has to remember as many sessions. Sockets are opened and closed one after the other.
"""

import argparse
import socket
import time
from contextlib import suppress

_LOWEST_PORT = 1_100
"""Below the ports of all other clients: nobody else gets the answers."""

_AT_ONCE = 100
_PAUSE_S = 0.005
"""After so many, a pause: the datagrams are to be judged, and not to be dropped by a full queue."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    for number in range(options.count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # somebody else may have the port
                udp.bind(("", _LOWEST_PORT + number))
                udp.sendto(b"one of many", (options.host, options.port))
        if number % _AT_ONCE == 0:
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
