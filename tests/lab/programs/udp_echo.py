"""`udp_echo.py PORTS ROUNDS`: a datagram from each of PORTS client ports, ROUNDS times, each of another size. Prints as JSON
how many came back whole, lost or damaged, which real servers answered, which peers they saw, how many client ports changed their
real server or local port, and which client ports there were.
"""

import collections
import json
import os
import socket
import sys

AT_ONCE = 50
"""Datagrams on the way at once: few enough for every buffer, so that a missing one was really lost."""
LONGEST_BYTES = 1400
LOST_AFTER_S = 20.0


def client_socket() -> socket.socket:
    """A socket with a port of its own that receives from the VIP only."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(LOST_AFTER_S)
    udp.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
    return udp


def payload(number: int) -> bytes:
    """Payloads of all sizes from 0 to the longest, in any order; no two are equal, except empty ones."""
    return (b"%d " % number * LONGEST_BYTES)[: number * 997 % (LONGEST_BYTES + 1)]


class Exchange:
    """The outcomes of the datagrams so far."""

    def __init__(self, ports: int) -> None:
        self.clients = [client_socket() for _ in range(ports)]
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.seen: list[set[tuple[str, str]]] = [set() for _ in self.clients]
        """By client, the pairs of real server and peer in its answers. One pair is one session."""

    def run(self, rounds: int) -> None:
        """Send and receive everything, or stop at the first loss."""
        for turn in range(rounds):
            for first in range(0, len(self.clients), AT_ONCE):
                if not self.outcomes["lost"]:
                    self._ask(turn, range(first, min(first + AT_ONCE, len(self.clients))))

    def _ask(self, turn: int, batch: range) -> None:
        for client in batch:
            self.clients[client].send(self._payload(turn, client))
        for client in batch:
            try:
                line, _, echo = self.clients[client].recv(2048).partition(b"\n")
            except TimeoutError:
                self.outcomes["lost"] += 1
                return
            self.outcomes["whole" if echo == self._payload(turn, client) else "damaged"] += 1
            answer = json.loads(line)
            self.seen[client].add((answer["real_server"], answer["peer"]))

    def _payload(self, turn: int, client: int) -> bytes:
        return payload(turn * len(self.clients) + client)


def main(ports: int, rounds: int) -> dict[str, object]:
    """Do the whole exchange, and return its figures."""
    exchange = Exchange(ports)
    exchange.run(rounds)
    sessions = [session for of_client in exchange.seen for session in of_client]
    return {
        **{outcome: exchange.outcomes[outcome] for outcome in ("whole", "lost", "damaged")},
        "real_servers": collections.Counter(real_server for real_server, _ in sessions),
        "peers": sorted({peer.split(":")[0] for _, peer in sessions}),
        "moved": sum(len(of_client) > 1 for of_client in exchange.seen),
        "sources": ["{}:{}".format(*client.getsockname()) for client in exchange.clients],
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
