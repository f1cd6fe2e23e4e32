"""Prints deploy/nftables.conf: a note for its readers, and the native ruleset of etc/lvs.toml."""

from pathlib import Path

from appliance.config.loading import load
from appliance.director.plans import steered
from appliance.policy.defence import Defence
from appliance.policy.ruleset import render

NOTE = """\
# The native ruleset for etc/lvs.toml, as `appliance run` loads it by itself. Made by `make gen`; do not edit.
# Only the seed of `jhash` is another one: each gateway has its own.
# To look at that of another configuration: appliance render-nft --config FILE
"""

if __name__ == "__main__":
    config = load(Path(__file__).parent.parent / "etc" / "lvs.toml")
    print(NOTE + render(steered(config), Defence.of(config.sysctl), native=True).nft, end="")
