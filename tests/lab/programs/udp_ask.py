"""`udp_ask.py COUNT`: ask from COUNT ports, one after the other, and print as JSON how often each outcome was seen: "answered",
"refused" (an ICMP error said that the port is closed) or "silence", after which it asks no more.
"""

import collections
import json
import os
import socket
import sys

SILENCE_AFTER_S = 20.0


def outcome() -> str:
    """The outcome of one datagram. An ICMP error about it is the error of the next call on the same, connected, socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(SILENCE_AFTER_S)
        udp.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        udp.send(b"?")
        try:
            udp.recv(2048)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silence"
        return "answered"


def main(count: int) -> dict[str, int]:
    """Ask so often, or until there is neither an answer nor an error."""
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        outcomes[outcome()] += 1
        if outcomes["silence"]:
            break
    return outcomes


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
