"""Load a compat ruleset of the appliance twice, as when it is repaired, then remove it. Prints as JSON the ruleset of the host
before, in between and after. Runs in a network namespace of its own.
"""

import json
import subprocess
from ipaddress import IPv4Address

from appliance.edge import nft
from appliance.policy.address_sets import Steered, SteeredService
from appliance.policy.defence import Defence
from appliance.policy.ruleset import IPTABLES_CHAIN, IPTABLES_JUMPS, TABLE, render
from appliance.policy.sides import Sides
from appliance.policy.steering import shard_table


def host_ruleset() -> str:
    """The whole ruleset of the host, without its counters."""
    return subprocess.run(["nft", "--stateless", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


def main() -> dict[str, object]:
    """Load, remove and print. `missed` lists the damages that `listing` did not notice."""
    service = SteeredService(IPv4Address("203.0.113.10"), "udp", 53)
    sides = Sides(("client0",), ("server0",))
    steered = Steered([service], [IPv4Address("192.0.2.10")], shard_table(4), 0, [IPv4Address("192.0.2.101")], [], sides)
    ruleset = render(steered, Defence(True, True, True), native=False)
    before = host_ruleset()
    for _ in range(2):
        nft.apply(ruleset)
    loaded = host_ruleset()
    missed = []
    listing = nft.listing(ruleset)
    jumps = (("iptables-nft", "-t", "raw", "-D", *jump) for jump in IPTABLES_JUMPS)
    for damage in (*jumps, ("iptables-nft", "-t", "raw", "-F", IPTABLES_CHAIN), ("nft", "flush", "table", "ip", TABLE)):
        assert nft.listing(ruleset) == listing
        subprocess.run(damage, check=True)
        if nft.listing(ruleset) == listing:
            missed.append(damage)
        nft.apply(ruleset)
    nft.remove()
    return {"before": before, "loaded": loaded, "missed": missed, "after": host_ruleset()}


if __name__ == "__main__":
    print(json.dumps(main()))
