"""Loss and duplication of packets, made with nftables, and the counters of the kernel for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.lab.conftest import RunningLab

Counts = Callable[[], dict[str, int]]
"""Packets that each rule lost or duplicated so far, by the comment of the rule."""

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
"""The first chain is before everything else that looks at a packet, the second after all of it."""


@contextmanager
def loss_behind_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets in both directions between the gateway and the one they are for.

    Behind the gateway each packet is one segment; before its queue, the kernel keeps segments of a host together in packets of up
    to 64 KiB. Rules in the hosts would not do: TCP of a sender would notice the drop, and packet sockets of a receiver would
    still see the packet."""
    with _table(lab, "gateway", leaving=_losses("oifname", "from gateway to", per_mille)) as counts:
        yield counts


@contextmanager
def loss_on_both_sides_of_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets on both sides: in each direction some that the gateway has seen, and some that it has not."""
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
    """Send every segment of the service twice, so that it arrives twice at the gateway and at the other end."""
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
