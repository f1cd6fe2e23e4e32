"""The guard: a small table that keeps the host from answering packets of services while they are not steered. Pure.

When somebody flushes the ruleset of the host, packets to VIPs and local addresses reach the host itself until the steering is
back, and the host would answer them with RST. The guard drops them at the input hook. It can do so because it outlives the flush:
it has the flag `owner` (kernel 5.12), so only the process that made the table can change it, and a flush passes over it.

A packet that has been steered has the priority `STEERED`, also when its shard left it to the host. The guard lets it pass, so in
normal operation the guard drops nothing. Answers to health checks (see `check_ports`) never go to a shard, and pass as well.
"""

from appliance.policy.address_sets import Steered, address_sets
from appliance.policy.check_ports import TO_CHECKS
from appliance.policy.ruleset import STEERED
from appliance.policy.sides import around, from_server_side

GUARD_TABLE = "appliance_guard"

_PRIORITY = -310


def render_guard(steered: Steered) -> str:
    """The nft text that makes the table, or replaces it, in one transaction."""
    rules = [
        f"type filter hook input priority {_PRIORITY}; policy accept;",
        f"meta priority {STEERED} accept",
        'iif "lo" accept',
        f"ip daddr @local_addresses meta l4proto {{ tcp, udp }} {TO_CHECKS} accept",
        "ip daddr . meta l4proto . th dport @services counter drop",
        f"ip daddr @local_addresses {from_server_side(steered.sides)} meta l4proto {{ tcp, udp }} counter drop",
        *around(steered.sides, ["local_addresses"], counter="counter"),
    ]
    lines = [
        f"table ip {GUARD_TABLE} {{ flags owner; }}",
        f"delete table ip {GUARD_TABLE}",
        f"table ip {GUARD_TABLE} {{",
        "\tflags owner",
        *address_sets(steered),
        "\tchain input {",
        *(f"\t\t{rule}" for rule in rules),
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"
