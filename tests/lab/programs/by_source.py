"""Connections from many addresses of one host: `by_source.py FIRST COUNT TIMES`. Prints who answered each of them, as JSON.

FIRST is the first of COUNT addresses, which the host has to have; from each, TIMES connections are made one after the other.
"""

import http.client
import json
import os
import sys
from ipaddress import IPv4Address


def answers(source: str, times: int) -> list[str]:
    """The names of the real servers that answered, each name once."""
    names = set()
    for _ in range(times):
        connection = http.client.HTTPConnection(
            os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]), timeout=10, source_address=(source, 0)
        )
        connection.request("GET", "/?close=1")
        names.add(json.loads(connection.getresponse().read())["real_server"])
        connection.close()
    return sorted(names)


if __name__ == "__main__":
    first, count, times = IPv4Address(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps({str(first + number): answers(str(first + number), times) for number in range(count)}))
