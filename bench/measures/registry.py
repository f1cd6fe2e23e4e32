"""All measures, in the order in which they are made."""

from bench.measures.bulk import BULK_FROM_SERVER, BULK_TO_SERVER
from bench.measures.latency import LATENCY_FROM_SERVER, LATENCY_TO_SERVER
from bench.measures.packets import TCP_PACKETS, UDP_PACKETS
from bench.measures.requests import CONNECTIONS, REQUESTS

MEASURES = (
    CONNECTIONS,
    REQUESTS,
    BULK_TO_SERVER,
    BULK_FROM_SERVER,
    UDP_PACKETS,
    TCP_PACKETS,
    LATENCY_TO_SERVER,
    LATENCY_FROM_SERVER,
)

BY_NAME = {measure.name: measure for measure in MEASURES}


def refusal(name: str) -> str:
    """Why a measure of that name cannot be asked for; empty when it can."""
    return "" if name in BY_NAME else f"{name!r} is not a measure; the measures are {', '.join(BY_NAME)}"
