"""How long a shard takes for one packet of an established session, without a kernel and a queue.

Prints microseconds per packet, median and best of several rounds, beside the cost of the same loop with an empty `handle`, and
both for a bare ACK and for a full segment, in both directions.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Verdict
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.shard.shard import Shard
from appliance.wire import layout as at
from appliance.wire.flow import flow_key, reverse_key
from bench.rig.segments import VIP, segment

PACKETS_PER_ROUND = 50_000
ROUNDS = 7

CLIENT = bytes((198, 51, 100, 2)) + (40000).to_bytes(2, "big")


def established_shard() -> tuple[Shard, dict[str, dict[str, Any]]]:
    """A shard with one established session; and, by label, what its next packet in each direction is made of."""
    real_server = RealServerPlan(address="192.0.2.101", port=8080, weight=100, slot=0)
    service = ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), (real_server,))
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, 1))), 1, 1)
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()})
    shard = Shard(Plan(0, 1, 0, 1, (service,), "00" * 16, "11" * 16), shared, now=0.0)
    inbound = flow_key(CLIENT, VIP)
    shard.handle(segment(inbound, at.SYN), 0.0)
    outbound = reverse_key(shard.output.rewritten[at.ADDRESSES_START : at.ADDRESSES_END])
    isn = at.HEADERS.unpack_from(shard.output.rewritten)[6]
    shown_ack = isn + 1 & 0xFFFFFFFF
    shard.handle(segment(outbound, at.SYN | at.ACK, b"!", seq=1000, ack=shown_ack), 0.0)
    shard.handle(segment(inbound, at.ACK, seq=1001, ack=1002), 0.0)  # a byte of the answer is acknowledged: the opening is over
    return shard, {
        "client to real server": {"key": inbound, "seq": 1001, "ack": 1002},
        "real server to client": {"key": outbound, "seq": 1002, "ack": shown_ack},
    }


def microseconds_per_packet(handle: Callable[[bytes, float], object], raw: bytes) -> list[float]:
    """Microseconds for each packet, one figure a round."""
    figures = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(PACKETS_PER_ROUND):
            handle(raw, 1.0)
        figures.append((time.perf_counter() - start) / PACKETS_PER_ROUND * 1e6)
    return figures


def report(label: str, figures: list[float]) -> None:
    """Print one line."""
    print(f"{label:34} median {statistics.median(figures):5.2f} us   best {min(figures):5.2f} us")


def main() -> None:
    """Measure and print. Raises AssertionError when a packet that was to be measured was not translated."""
    gc.disable()
    shard, packets = established_shard()
    nothing = microseconds_per_packet(lambda _raw, _now: None, b"")
    report("the loop itself, empty handle", nothing)
    for (label, fields), expected in zip(packets.items(), (TO_REAL_SERVER, TO_CLIENT), strict=True):
        for size in (0, 1460):
            _measure(shard, f"{label}, {size} bytes", segment(**fields, flags=at.ACK, payload=bytes(size)), expected)


def _measure(shard: Shard, label: str, raw: bytes, expected: Verdict) -> None:
    if shard.handle(raw, 1.0) is not expected:
        raise AssertionError(f"{label}: not translated")
    report(label, microseconds_per_packet(shard.handle, raw))


if __name__ == "__main__":
    main()
