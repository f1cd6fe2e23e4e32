"""Loss and duplication of packets, made with nftables and tc, and the counters of the kernel for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

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
HOSTS = ("client", "rs1", "rs2")

_LEAVING = """
table netdev loss_rules {{
    chain to_client {{
        type filter hook egress device "client0" priority 0
        {to_client}
    }}
    chain to_server {{
        type filter hook egress device "server0" priority 0
        {to_server}
    }}
}}
"""
"""Where the device sends: what the lane carries passes no other hook."""

_RANDOM_DROP = "5,32 0 0 4294963256,148 0 0 1000,53 1 0 {per_mille},6 0 0 2,6 0 0 4294967295"
"""Classic BPF: a random number, modulo 1000; below `per_mille` the packet is dropped (2), else other filters go on (-1)."""


@contextmanager
def loss_behind_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets in both directions between the gateway and the one they are for.

    Rules in the hosts would not do: TCP of a sender would notice the drop, and packet sockets of a receiver would still see the
    packet."""
    rules = {
        f"to_{side}": f"meta protocol ip meta l4proto tcp numgen random mod 1000 < {per_mille} counter drop comment "
        f'"from gateway to {side}"'
        for side in SIDES
    }
    with _one_segment_a_packet(lab), _loaded(lab, "gateway", "netdev", _LEAVING.format(**rules)) as counts:
        yield counts


@contextmanager
def loss_on_both_sides_of_the_gateway(lab: RunningLab, per_mille: int) -> Iterator[Counts]:
    """Lose packets on both sides: in each direction some that the gateway has seen, and some that it has not."""
    with ExitStack() as stack:
        leaving = stack.enter_context(loss_behind_the_gateway(lab, per_mille))
        arriving = {side: stack.enter_context(_loss_of_arriving(lab, f"{side}0", per_mille)) for side in SIDES}
        yield lambda: leaving() | {f"to gateway from {side}": count() for side, count in arriving.items()}


@contextmanager
def _loss_of_arriving(lab: RunningLab, interface: str, per_mille: int) -> Iterator[Callable[[], int]]:
    """Lose packets before the lane sees them, which comes behind the filters of others."""
    had_qdisc = "clsact" in lab.run("gateway", "tc", "qdisc", "show", "dev", interface)
    if not had_qdisc:
        lab.run("gateway", "tc", "qdisc", "add", "dev", interface, "clsact")

    def drops() -> int:
        listed = json.loads(lab.run("gateway", "tc", "-s", "-j", "qdisc", "show", "dev", interface))
        return int(next(qdisc["drops"] for qdisc in listed if qdisc["kind"] == "clsact"))

    before = drops()
    place = ("dev", interface, "ingress", "protocol", "ip", "pref", "10")
    bytecode = _RANDOM_DROP.format(per_mille=per_mille)
    lab.run("gateway", "tc", "filter", "add", *place, "bpf", "da", "bytecode", bytecode)
    try:
        yield lambda: drops() - before
    finally:
        lab.run("gateway", "tc", "filter", "del", *place)
        if not had_qdisc:
            lab.run("gateway", "tc", "qdisc", "del", "dev", interface, "clsact")


@contextmanager
def _one_segment_a_packet(lab: RunningLab) -> Iterator[None]:
    """A queue splits what a host sends into its segments; the lane does not, and one lost packet would be many segments."""
    for host in HOSTS:
        lab.run(host, "ip", "link", "set", "dev", "eth0", "gso_max_segs", "1")
    try:
        yield
    finally:
        for host in HOSTS:
            lab.run(host, "ip", "link", "set", "dev", "eth0", "gso_max_segs", "65535")


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


def _table(lab: RunningLab, role: str, leaving: str) -> AbstractContextManager[Counts]:
    return _loaded(lab, role, "ip", _TABLE.format(leaving=leaving))


@contextmanager
def _loaded(lab: RunningLab, role: str, family: str, text: str) -> Iterator[Counts]:
    def counts() -> dict[str, int]:
        listed = json.loads(lab.run(role, "nft", "--json", "list", "table", family, "loss_rules"))["nftables"]
        rules = [entry["rule"] for entry in listed if "rule" in entry]
        return {rule["comment"]: _packets(rule["expr"]) for rule in rules}

    lab.run(role, "nft", text)
    try:
        yield counts
    finally:
        lab.run(role, "nft", "delete", "table", family, "loss_rules")


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
