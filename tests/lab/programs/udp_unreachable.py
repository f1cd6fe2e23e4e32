"""`udp_unreachable.py SOURCE DESTINATION`: a datagram to where nobody is, on the local network. Prints as JSON the name of the
error that its socket is told of.
"""

import errno
import json
import socket
import sys

IP_RECVERR = 11  # linux/in.h; without it, "host unreachable" is not told
TOLD_AFTER_S = 20.0


def main(source: str, destination: str) -> str:
    """The kernel gives up looking for a neighbour after three seconds."""
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
