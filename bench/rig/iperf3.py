"""How iperf3 is called, and what its output says."""

import json
from typing import Any

from bench.rig.processes import output_within
from bench.rig.reading import Reading
from bench.rig.topology import BULK_PORT, BenchError


def iperf3(target: str, seconds: int, *options: str) -> Reading:
    """Traffic between the client and the server behind the target; see `parse_iperf3`."""
    arguments = ("--client", target, "--port", str(BULK_PORT), "--time", str(seconds), "--json", *options)
    return parse_iperf3(output_within(("iperf3", *arguments), seconds))


def parse_iperf3(output: str) -> Reading:
    """Gbit/s that arrived, and megabits in all; 0 and the reason when iperf3 reports an error.

    Details are `seconds` and, for TCP, `retransmits`, in segments, and `arrived_share`, of the bytes that were sent. Raises
    BenchError for what is no JSON.
    """
    try:
        result = json.loads(output)
    except ValueError as error:
        raise BenchError(f"iperf3 printed no JSON: {output.strip()[-500:]}") from error
    if "error" in result:
        return Reading(0.0, f"iperf3: {result['error']}")
    arrived = _arrived(result["end"])
    megabits = arrived["bytes"] * 8 / 1e6
    details = {"seconds": arrived["seconds"]}
    if "retransmits" in (sent := result["end"].get("sum_sent", {})):
        details["retransmits"] = sent["retransmits"]
        details["arrived_share"] = arrived["bytes"] / sent["bytes"] if sent["bytes"] else 0.0
    return Reading(arrived["bits_per_second"] / 1e9, "" if megabits else "iperf3: nothing arrived", megabits, details)


def _arrived(end: dict[str, Any]) -> dict[str, float]:
    """iperf3 before 3.17 has one sum for a UDP test, as the receiver saw it."""
    total: dict[str, float] = end.get("sum_received") or end["sum"]
    return total
