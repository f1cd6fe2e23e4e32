"""Short connections, and requests on connections that stay: wrk against nginx in both real servers."""

from bench.measures.measure import Figure, Load, Measure
from bench.rig.reading import Reading
from bench.rig.wrk import keep_alive_requests, new_connections

_PERCENTILES = (Figure("p50_ms", "p50 ms", 2), Figure("p99_ms", "p99 ms", 2))


def _connections(load: Load) -> Reading:
    return new_connections(load.pair, load.seconds, load.site.directory)


def _requests(load: Load) -> Reading:
    return keep_alive_requests(load.pair, load.seconds, load.site.directory)


CONNECTIONS = Measure(
    "connections", "new connections", "connections/s", 0, _connections, _PERCENTILES, "connection", programs=("wrk",)
)
REQUESTS = Measure("requests", "keep-alive requests", "requests/s", 0, _requests, _PERCENTILES, "request", programs=("wrk",))
