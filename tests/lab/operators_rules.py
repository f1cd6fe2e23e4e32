"""Rules of the operator's own in the gateway, and what the appliance says of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.conftest import RunningLab

TABLE = "table ip operator"


@contextmanager
def operators_rule(lab: RunningLab, rule: str, hook: str = "forward priority 0") -> Iterator[None]:
    """With a rule of the operator's own, for what is forwarded or at another hook."""
    text = f"{TABLE} {{ chain f {{ type filter hook {hook}; {rule}; }}; }}"
    lab.run("gateway", "nft", text)
    try:
        yield
    finally:
        lab.run("gateway", "nft", f"delete {TABLE}")


def counted(lab: RunningLab) -> int:
    """How many packets the rule has counted."""
    (packets,) = (
        each["counter"]["packets"]
        for rule in json.loads(lab.run("gateway", "nft", "-j", "list", "table", "ip", "operator"))["nftables"]
        for each in rule.get("rule", {}).get("expr", [])
        if "counter" in each
    )
    return int(packets)


def why_off(lab: RunningLab) -> str:
    """What keeps the lane from opening sessions by itself; empty when nothing does."""
    reason: str = lab.api_json("/healthz")["lane"]["admissions_off"]
    return reason
