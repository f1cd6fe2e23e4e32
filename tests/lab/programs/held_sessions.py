"""`held_sessions.py COUNT`: hold COUNT sessions with the service, and say at any time which of them still work.

Each makes one request at the beginning; then the program prints its ports as JSON. It reads commands from standard input, a line
each, and answers each with one line of JSON:

    ask         each session makes a request on its old connection: how many were "answered", "reset", or "silent"
    numbers I   of session I: the next sequence number it will send, and the next one that it expects

`numbers` asks the kernel by TCP_REPAIR, so it needs root. Nobody but both ends and the gateway can know these numbers.
"""

import collections
import json
import os
import socket
import sys
import time

from tests.lab.programs.fresh_ports import FreshPorts

REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
PATIENCE_S = 60.0
"""For the answers to all requests together, which are sent at once."""
LEAST_WAIT_S = 0.05

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
REPAIR_ON, REPAIR_OFF_SILENTLY = 1, -1
RECEIVE_QUEUE, SEND_QUEUE = 1, 2


def read_answer(connection: socket.socket) -> bool:
    """Whether a whole answer came. Raises OSError when the connection was reset, or when nothing came in time."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
            return True
        if not (more := connection.recv(1 << 16)):
            return False
        answer += more


def outcome(connection: socket.socket, deadline: float) -> str:
    """What became of a request that was sent."""
    connection.settimeout(max(LEAST_WAIT_S, deadline - time.monotonic()))
    try:
        return "answered" if read_answer(connection) else "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "reset"


def ask(connections: list[socket.socket]) -> collections.Counter[str]:
    """A request on each of them, all at once, and how many had which outcome."""
    over = set()
    for connection in connections:
        try:
            connection.send(REQUEST)
        except OSError:
            over.add(connection)
    deadline = time.monotonic() + PATIENCE_S
    return collections.Counter("reset" if each in over else outcome(each, deadline) for each in connections)


def numbers(connection: socket.socket) -> list[int]:
    """The next number to send, and the next to receive."""
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    found = []
    for queue in (SEND_QUEUE, RECEIVE_QUEUE):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        found.append(connection.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY)
    return found


def main(count: int) -> None:
    """Open the sessions and read commands until standard input ends."""
    service = os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])
    ports, connections = FreshPorts(count), [socket.socket() for _ in range(count)]
    for connection in connections:
        connection.settimeout(PATIENCE_S)
        ports.bind(connection)
        connection.connect(service)
    if ask(connections)["answered"] != count:
        raise SystemExit("not every session was answered at the beginning")
    print(json.dumps([connection.getsockname()[1] for connection in connections]), flush=True)
    while line := sys.stdin.readline().strip():
        word, _, which = line.partition(" ")
        print(json.dumps(numbers(connections[int(which)]) if word == "numbers" else ask(connections)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
