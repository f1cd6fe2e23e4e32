"""`stopped_downloads.py COUNT`: COUNT clients that have a long answer on its way, and do not read it until they are told to.

It prints "stopped" when the head of each answer has come; the real servers ask again and again whether a client has room. At a
line of standard input the clients go on reading, and it prints as JSON how many were "reset", "whole" or "silent".
"""

import collections
import json
import os
import socket
import sys

LONG_BYTES = 1 << 23
BUFFER_BYTES = 1 << 14
PATIENCE_S = 60.0


def asked(service: tuple[str, int]) -> socket.socket:
    """A connection on which the answer has begun."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.settimeout(PATIENCE_S)
    connection.connect(service)
    connection.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: lab\r\n\r\n" % LONG_BYTES)
    connection.recv(1)
    return connection


def rest(connection: socket.socket) -> str:
    """Read to the end; how that went."""
    count = 0
    try:
        while count < LONG_BYTES:
            count += len(connection.recv(1 << 16))
    except TimeoutError:
        return "silent"
    except ConnectionResetError:
        return "reset"
    return "whole"


def main(count: int) -> None:
    """Ask, wait for the word, read."""
    connections = [asked((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))) for _ in range(count)]
    print("stopped", flush=True)
    sys.stdin.readline()
    print(json.dumps(collections.Counter(map(rest, connections))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
