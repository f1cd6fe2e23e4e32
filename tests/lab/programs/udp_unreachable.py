"""`udp_unreachable.py SOURCE DESTINATION`: send a datagram to an address of the local network that nobody has. Prints as JSON
the name of the error that its socket gets.
"""

import errno
import json
import socket
import sys

IP_RECVERR = 11  # linux/in.h; without it, a socket does not get "host unreachable"
TOLD_AFTER_S = 20.0


def main(source: str, destination: str) -> str:
    """The name of the error. The kernel looks for a neighbour for three seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        udp.settimeout(TOLD_AFTER_S)
        udp.bind((source, 0))
        udp.connect((destination, 9))
        udp.send(b"?")
        try:
            udp.recv(1)
        except OSError as error:
            return errno.errorcode.get(error.errno, repr(error)) if error.errno else repr(error)
    return "answered"


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
