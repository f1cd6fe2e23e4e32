"""Connections from many addresses of one host: `by_source.py FIRST COUNT TIMES [together]`. Prints who answered each, as JSON.

FIRST is the first of COUNT addresses, which the host has to have. From each, TIMES connections are made, one after the other or
all at once.
"""

import http.client
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address


def answer(source: str) -> str:
    """The name of the real server that answers a connection from this address."""
    connection = http.client.HTTPConnection(
        os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]), timeout=10, source_address=(source, 0)
    )
    connection.request("GET", "/?close=1")
    name: str = json.loads(connection.getresponse().read())["real_server"]
    connection.close()
    return name


if __name__ == "__main__":
    first, count, times = IPv4Address(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with ThreadPoolExecutor(times if "together" in sys.argv[4:] else 1) as pool:
        sources = [str(first + number) for number in range(count)]
        print(json.dumps({source: sorted(set(pool.map(answer, [source] * times))) for source in sources}))
