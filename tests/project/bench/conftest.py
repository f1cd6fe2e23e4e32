"""Results of a run as JSON, for what is drawn and written from them."""

import json
from typing import Any

import pytest

from bench.compare.as_json import as_json
from bench.compare.results import ALL_CPU, GATEWAY_CPU, Results
from bench.compare.setup import Setup
from bench.measures.latency import LATENCY_FROM_SERVER
from bench.measures.requests import CONNECTIONS
from bench.modes.appliance import APPLIANCE
from bench.modes.nft_nat import NFT_NAT
from bench.modes.routing import ROUTING
from bench.rig.machine import Machine
from bench.rig.reading import Reading

MODES = (ROUTING, NFT_NAT, APPLIANCE)


@pytest.fixture
def data() -> dict[str, Any]:
    """Two measures of three modes as JSON; the first round of NAT had errors."""
    results = Results()
    for mode, value in ((ROUTING, 1000.0), (NFT_NAT, 800.0), (APPLIANCE, 250.0)):
        trouble = "wrk: 1 <read> error" if mode is NFT_NAT else ""
        cpu = {ALL_CPU: 100_000 / value, GATEWAY_CPU: 10.0, "p50_ms": 3.0, "p99_ms": 9.0}
        results.add(CONNECTIONS, mode, Reading(value, trouble, details=cpu))
        results.add(LATENCY_FROM_SERVER, mode, Reading(2 * value / 1000, details={"alone_p50_ms": 0.5, "times_alone": 4.5}))
    setup = Setup(Machine("6.1 & more", "CPU", 2, "3.11", 0.1), MODES, (CONNECTIONS, LATENCY_FROM_SERVER), 2, 1, 3)
    made: dict[str, Any] = json.loads(json.dumps(as_json(setup, results)))
    return made
