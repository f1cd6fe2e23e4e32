"""`slow_downloads.py COUNT BYTES`: begin COUNT downloads of BYTES each, of which nothing is read. Print the sources as JSON.

For the first line on standard input, read all of them to the end and close; print as JSON what became of each, by its source: how
many bytes of its body came, or "reset".
"""

import json
import os
import socket
import sys


def begin(count: int) -> socket.socket:
    """A download that stands still: the client's buffer is small, and it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    sock.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
    sock.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: lab\r\n\r\n" % count)
    sock.recv(1, socket.MSG_PEEK)
    return sock


def finish(sock: socket.socket, count: int) -> int | str:
    """The number of bytes of its body."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            received += sock.recv(1 << 16)
        done = len(received.partition(b"\r\n\r\n")[2])
        while done < count and (piece := sock.recv(1 << 16)):
            done += len(piece)
    except ConnectionResetError:
        return "reset"
    finally:
        sock.close()
    return done


if __name__ == "__main__":
    count, size = int(sys.argv[1]), int(sys.argv[2])
    downloads = {}
    for _ in range(count):
        sock = begin(size)
        downloads["{}:{}".format(*sock.getsockname())] = sock
    print(json.dumps(list(downloads)), flush=True)
    sys.stdin.readline()
    print(json.dumps({source: finish(sock, size) for source, sock in downloads.items()}), flush=True)
