"""Connections from many addresses of one host: `by_source.py FIRST COUNT TIMES [together]`. Prints who answered each, as JSON.

FIRST is the first of COUNT addresses, which the host has to have. From each, TIMES connections are made, one after the other or
all at once.
"""

import http.client
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from tests.lab.programs.fresh_ports import FreshPorts

PATIENCE_S = 60.0
"""For an answer. It only ends a test that failed."""


def answer(source: str, ports: FreshPorts) -> str:
    """The name of the real server that answers a connection from this address."""
    with socket.socket() as sock:
        sock.settimeout(PATIENCE_S)
        ports.bind(sock, source)
        sock.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        connection = http.client.HTTPConnection(os.environ["LAB_VIP"])
        connection.sock = sock
        connection.request("GET", "/?close=1")
        name: str = json.loads(connection.getresponse().read())["real_server"]
        return name


if __name__ == "__main__":
    first, count, times = IPv4Address(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with ThreadPoolExecutor(times if "together" in sys.argv[4:] else 1) as pool:
        sources = [str(first + number) for number in range(count)]
        ports = FreshPorts(count * times)
        print(json.dumps({source: sorted(set(pool.map(answer, [source] * times, [ports] * times))) for source in sources}))
