"""Loss and duplication of packets, made with nftables and tc, and the counters of the kernel for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.lab.conftest import RunningLab

Counts = Callable[[], dict[str, int]]
"""Packets that each rule lost or duplicated so far, by the comment of the rule."""

_TABLE = """
table ip loss_rules {{
    chain leaving {{
        type filter hook postrouting priority 0
        {leaving}
    }}
}}
"""
"""After all else that looks at a packet."""

SIDES = ("client", "server")

_RANDOM_DROP = "5,32 0 0 4294963256,148 0 0 1000,53 1 0 {per_mille},6 0 0 2,6 0 0 4294967295"
"""Classic BPF: a random number, modulo 1000; below `per_mille` the packet is dropped (2), else other filters go on (-1)."""


@contextmanager
def loss_behind_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets in both directions between the gateway and the one they are for.

    Rules in the hosts would not do: TCP of a sender would notice the drop, and packet sockets of a receiver would still see the
    packet."""
    with ExitStack() as stack:
        counts = {side: stack.enter_context(_loss(lab, f"{side}0", per_mille, "egress")) for side in SIDES}
        yield lambda: {f"from gateway to {side}": count() for side, count in counts.items()}


@contextmanager
def loss_on_both_sides_of_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets on both sides: in each direction some that the gateway has seen, and some that it has not."""
    with ExitStack() as stack:
        counts = {side: stack.enter_context(_loss(lab, f"{side}0", per_mille, "egress", "ingress")) for side in SIDES}
        yield lambda: {f"between gateway and {side}": count() for side, count in counts.items()}


@contextmanager
def _loss(lab: RunningLab, interface: str, per_mille: int, *hooks: str) -> Iterator[Callable[[], int]]:
    """Lose packets at an interface, by filters of tc: no hook of netfilter sees what the lane carries. Those at the ingress come
    before the lane, which is behind the filters of others."""
    had_qdisc = "clsact" in lab.run("gateway", "tc", "qdisc", "show", "dev", interface)
    if not had_qdisc:
        lab.run("gateway", "tc", "qdisc", "add", "dev", interface, "clsact")

    def drops() -> int:
        listed = json.loads(lab.run("gateway", "tc", "-s", "-j", "qdisc", "show", "dev", interface))
        return int(next(qdisc["drops"] for qdisc in listed if qdisc["kind"] == "clsact"))

    before = drops()
    place = ("protocol", "ip", "pref", "10")
    for hook in hooks:
        filter_ = ("bpf", "da", "bytecode", _RANDOM_DROP.format(per_mille=per_mille))
        lab.run("gateway", "tc", "filter", "add", "dev", interface, hook, *place, *filter_)
    try:
        yield lambda: drops() - before
    finally:
        for hook in hooks:
            lab.run("gateway", "tc", "filter", "del", "dev", interface, hook, *place)
        if not had_qdisc:
            lab.run("gateway", "tc", "qdisc", "del", "dev", interface, "clsact")


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
def _table(lab: RunningLab, role: str, leaving: str) -> Iterator[Counts]:
    def counts() -> dict[str, int]:
        listed = json.loads(lab.run(role, "nft", "--json", "list", "table", "ip", "loss_rules"))["nftables"]
        rules = [entry["rule"] for entry in listed if "rule" in entry]
        return {rule["comment"]: _packets(rule["expr"]) for rule in rules}

    lab.run(role, "nft", _TABLE.format(leaving=leaving))
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
