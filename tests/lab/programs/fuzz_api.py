"""Ask the API at HOST:PORT for every route with every parameter: missing, empty, repeated, absurd. EXAMPLES for each operation.

Prints as JSON how often each status was answered. Tunables get only values that they already have, or none that is allowed.
"""

import http.client
import json
import sys
from collections import Counter
from http import HTTPStatus
from urllib.parse import urlencode

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from appliance.model.counters import EXT_COUNTERS
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from appliance.rest.operation import Operation
from appliance.rest.routes import ROUTES, query_names

GOOD = {
    "client": ["198.51.100.2", "198.51.100.0/24", "198.51.100.2:40000"],
    "service": ["web"],
    "real_server": ["192.0.2.101", "192.0.2.101:8080"],
    "state": ["ESTABLISHED", "time_wait"],
    "limit": ["1", "10000"],
    "after": ["0-0-0-000000000000000000000000", "1-1-255-ffffffffffffffffffffffff", "63-0-0-000000000000000000000000"],
    "all": ["1"],
    "by": ["client", "service", "real_server"],
    "n": ["1", "1000"],
    "format": ["text", "json"],
}
ABSURD = [
    "",
    " ",
    "\0",
    "-1",
    "0",
    "9" * 500,
    "x" * 3000,
    "é",
    "\ud800",
    "%",
    "[]",
    "../..",
    "٣",
    "None",
    "1e3",
    "0.0.0.0/0",
    "0/0",
]
BODIES = [b"", b"{", b"[]", b"nan", b"-1", b"\0", b"9" * 4096, b"x" * 5000, b'{"value": null}', b'{"value": "1"}', b"[" * 4000]
NAMES = {
    "/sysctl/{name}": [*TUNABLES],
    "/stats/ext/{name}": [counter.name for counter in EXT_COUNTERS],
    "/stats/ip_vs_ext_stats/{name}": [counter.name for counter in EXT_COUNTERS],
    "/host/sysctl/{name}": [*HOST_PARAMETERS],
}


def queries(asked: Operation) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Query strings of an operation: its own fields and others, in any number."""
    names = st.sampled_from([*query_names(asked), *GOOD, "", "x", "client "])
    return st.lists(names.flatmap(lambda name: st.tuples(st.just(name), values(name))), max_size=5)


def values(name: str) -> st.SearchStrategy[str]:
    """Values of a field, good and bad."""
    return st.one_of(st.sampled_from(GOOD.get(name, ["1"])), st.sampled_from(ABSURD), st.text(max_size=20))


def url(path: str, name: str, query: list[tuple[str, str]]) -> str:
    """A URL as bytes on the wire, also of text that is not UTF-8."""
    encoded = urlencode(query, errors="surrogatepass")
    return path.replace("{name}", name) + (f"?{encoded}" if encoded else "")


def fuzz(host: str, port: int, asked: Operation, path: str, examples: int, statuses: Counter[int]) -> None:
    """All examples of one operation, over connections of their own."""

    @seed(1)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(NAMES.get(path, [""])), queries(asked), st.sampled_from(BODIES), st.booleans())
    def one(name: str, query: list[tuple[str, str]], body: bytes, wants_json: bool) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        headers = {"Accept": "application/json" if wants_json else "*/*"}
        connection.request(asked.method, url(path, name, query), body if asked.body else None, headers)
        answer = connection.getresponse()
        if not asked.may_wait:  # else it may go on for ever
            answer.read()
        connection.close()
        if not (asked.may_wait and answer.status == HTTPStatus.SERVICE_UNAVAILABLE):  # the places of those before are still taken
            statuses[answer.status] += 1

    one()


def main(host: str, port: int, examples: int) -> None:
    """Fuzz every operation."""
    statuses = Counter[int]()
    for route in ROUTES:
        for asked in route.operations:
            fuzz(host, port, asked, route.path, examples, statuses)
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
