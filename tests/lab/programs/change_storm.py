"""Change the service `web` through the API at ADDRESS, COUNT times: weights, schedulers, an idle real server that comes and goes.

No change ends a session of anybody. Prints as JSON how many changes there were, and every answer that was not 200.
"""

import http.client
import json
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any
from urllib.parse import urlsplit

SERVER = "/services/web/real_servers/192.0.2.10"
SCHEDULERS = ("wrr", "lc", "wlc", "sh", "mh", "rr")


def changes() -> Iterator[tuple[str, str, Any]]:
    """Method, path and body, without end."""
    for scheduler in cycle(SCHEDULERS):
        yield "PATCH", "/services/web", {"scheduler": scheduler}
        for weight in (1, 50, 100):
            yield "PATCH", f"{SERVER}1:8080", {"weight": weight}
            yield "PUT", f"{SERVER}2:8080", {"weight": 101 - weight}
        yield "PUT", f"{SERVER}9:8080", {"weight": 0}
        yield "DELETE", f"{SERVER}9:8080", None


def main(address: str, count: int) -> None:
    """Make all changes over one connection."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    refused = []
    for method, path, body in islice(changes(), count):
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != http.client.OK:
            refused.append([method, path, response.status, text])
    print(json.dumps({"changes": count, "refused": refused}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
