"""Loss and duplication on the way, made with nftables, and what the kernel counts of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.lab.conftest import RunningLab

Counts = Callable[[], dict[str, int]]
"""Packets that met with each mishap so far, by its name."""

_TABLE = """
table ip loss_rules {{
    chain arriving {{
        type filter hook prerouting priority -450
        {arriving}
    }}
    chain leaving {{
        type filter hook postrouting priority 0
        {leaving}
    }}
}}
"""
"""Before anything else looks at a packet, and when all have seen it."""


@contextmanager
def loss_behind_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets in both directions between the gateway and the one they are for.

    There, each is a segment of its own: those that a host sends are joined in bundles of up to 64 KiB until the queue. Not in
    the hosts: a sender's TCP would notice that its packet was dropped, a receiver's packet sockets would see it.
    """
    with _table(lab, "gateway", leaving=_losses("oifname", "from gateway to", per_mille)) as counts:
        yield counts


@contextmanager
def loss_on_both_sides_of_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """The same on the way to the gateway, as well: in each direction, packets are lost that the gateway saw or did not see."""
    arriving, leaving = _losses("iifname", "to gateway from", per_mille), _losses("oifname", "from gateway to", per_mille)
    with _table(lab, "gateway", arriving, leaving) as counts:
        yield counts


def _losses(interface: str, way: str, per_mille: int) -> str:
    return "\n".join(
        f'meta l4proto tcp {interface} "{side}0" numgen random mod 1000 < {per_mille} counter drop comment "{way} {side}"'
        for side in ("client", "server")
    )


@contextmanager
def duplication(lab: RunningLab) -> Iterator[Counts]:
    """Every segment of the service that an end sends is sent twice, and so arrives twice at the gateway and at the other end."""
    copied = 'counter dup to {} device "eth0" comment "from {}"'
    with ExitStack() as stack:
        from_client = f"ip daddr {lab.vip} {copied.format('198.51.100.1', 'client')}"
        counts = [stack.enter_context(_table(lab, "client", leaving=from_client))]
        for role in ("rs1", "rs2"):
            from_server = f'oifname "eth0" tcp sport 8080 {copied.format("ip daddr", role)}'
            counts.append(stack.enter_context(_table(lab, role, leaving=from_server)))
        yield lambda: {name: packets for count in counts for name, packets in count().items()}


@contextmanager
def _table(lab: RunningLab, role: str, arriving: str = "", leaving: str = "") -> Iterator[Counts]:
    def counts() -> dict[str, int]:
        listed = json.loads(lab.run(role, "nft", "--json", "list", "table", "ip", "loss_rules"))["nftables"]
        rules = [entry["rule"] for entry in listed if "rule" in entry]
        return {rule["comment"]: _packets(rule["expr"]) for rule in rules}

    lab.run(role, "nft", _TABLE.format(arriving=arriving, leaving=leaving))
    try:
        yield counts
    finally:
        lab.run(role, "nft", "delete", "table", "ip", "loss_rules")


def _packets(expressions: list[dict[str, dict[str, int]]]) -> int:
    return next(expression["counter"]["packets"] for expression in expressions if "counter" in expression)


def tcp_ext(lab: RunningLab, role: str) -> dict[str, int]:
    """The TcpExt counters of a namespace, by the names that `nstat -az` shows behind "TcpExt"."""
    lines = lab.run(role, "cat", "/proc/net/netstat").splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("TcpExt:"))
    return dict(zip(names, map(int, values), strict=True))


def tcp_ext_of_all(lab: RunningLab, roles: tuple[str, ...]) -> dict[str, int]:
    """The TcpExt counters of several namespaces, added up by name."""
    each = [tcp_ext(lab, role) for role in roles]
    return {name: sum(counters[name] for counters in each) for name in each[0]}
