"""`held_questions.py COUNT`: COUNT UDP clients, each with a port of its own, that have asked and been answered once.

Prints their ports as JSON. Then it reads commands from standard input, and answers each with one line of JSON:

    heard   how many datagrams wait that nobody asked for, by what they begin with: "forged" or "other"
    ask     each asks again: how many were "answered" by the real server, "forged", or "silent"
"""

import collections
import json
import os
import socket
import sys

PATIENCE_S = 60.0
FORGED = b"forged"


def kind_of(datagram: bytes, otherwise: str) -> str:
    """The kind of a datagram, for the counts."""
    return "forged" if datagram.startswith(FORGED) else otherwise


def heard(clients: list[socket.socket]) -> collections.Counter[str]:
    """Take everything that waits."""
    kinds: collections.Counter[str] = collections.Counter()
    for client in clients:
        client.setblocking(False)
        try:
            while True:
                kinds[kind_of(client.recv(2048), "other")] += 1
        except BlockingIOError:
            continue
    return kinds


def ask(clients: list[socket.socket]) -> collections.Counter[str]:
    """A question of each, and the first datagram that came after it."""
    kinds: collections.Counter[str] = collections.Counter()
    for client in clients:
        client.settimeout(PATIENCE_S)
        client.send(b"?")
        try:
            kinds[kind_of(client.recv(2048), "answered")] += 1
        except TimeoutError:
            kinds["silent"] += 1
    return kinds


def main(count: int) -> None:
    """Ask, and read commands until standard input ends."""
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for client in clients:
        client.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
    if ask(clients)["answered"] != count:
        raise SystemExit("not every client was answered at the beginning")
    print(json.dumps([client.getsockname()[1] for client in clients]), flush=True)
    while line := sys.stdin.readline().strip():
        print(json.dumps(heard(clients) if line == "heard" else ask(clients)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
