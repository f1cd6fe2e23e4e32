"""A bare queue loop: Python takes every packet from a queue and hands it back as it came. No user-space gateway on NFQUEUE can do
less; what the appliance without its lane needs more is its own work."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from appliance.edge.nft import kernel_has_queue_statement
from appliance.policy.ruleset import PRIORITY
from appliance.policy.steering import HASH_SEED
from bench.modes.mode import Mode
from bench.rig.counters import queue_counts
from bench.rig.nft import RAW_TABLE, table_loaded
from bench.rig.processes import running_in_gateway
from bench.rig.topology import CLIENT, QUEUED_REAL_SERVERS, Site, inside, module, output_of

TABLE = "bench_queue"
QUEUE_BASE = 1000
"""Far from the appliance's queues, which start at 0."""

_IPTABLES_CHAIN = "BENCH"
_MARK_BASE = 0xBE00  # clear of the top eight bits, which are the appliance's


def table(shards: int, *, native: bool) -> str:
    """The text of an nftables table that queues both directions of the loop's flows, all packets of a flow to one queue.

    The reply's rule hashes the mirrored fields with the same seed, hence the same queue.
    """
    addresses = ", ".join(QUEUED_REAL_SERVERS)
    choice = ", ".join(f"{shard} : goto shard{shard}" for shard in range(shards))

    def hashed(address: str, port: str) -> str:
        return f"jhash {address} . {port} mod {shards} seed {HASH_SEED:#x} vmap {{ {choice} }}" if shards > 1 else "goto shard0"

    chains = "".join(
        f"\tchain shard{shard} {{\n\t\t{f'queue num {QUEUE_BASE + shard}' if native else f'meta mark set {_mark(shard)}'}\n\t}}\n"
        for shard in range(shards)
    )
    return f"""\
table ip {TABLE} {{
{chains}	chain prerouting {{
		type filter hook prerouting priority {PRIORITY}; policy accept;
		ip daddr {{ {addresses} }} meta l4proto {{ tcp, udp }} {hashed("ip saddr", "th sport")}
		ip saddr {{ {addresses} }} meta l4proto {{ tcp, udp }} {hashed("ip daddr", "th dport")}
	}}
}}
"""


def iptables_rules(shards: int) -> str:
    """The text for iptables-nft-restore that turns the marks of `table` into NFQUEUE."""
    rules = (f"-A {_IPTABLES_CHAIN} -m mark --mark {_mark(n)} -j NFQUEUE --queue-num {QUEUE_BASE + n}" for n in range(shards))
    chain = (f":{_IPTABLES_CHAIN} - [0:0]", *rules, f"-I PREROUTING -j {_IPTABLES_CHAIN}")
    return "\n".join((f"*{RAW_TABLE}", *chain, "COMMIT", ""))


def _mark(shard: int) -> str:
    return f"{_MARK_BASE + shard:#x}"


@contextmanager
def _opened(site: Site, shards: int) -> Iterator[None]:
    with ExitStack() as stack:
        for queue in range(QUEUE_BASE, QUEUE_BASE + shards):
            stack.enter_context(_loop_running(site, queue))
        # Last in, first out: a packet must not be sent to a queue that nobody reads any more.
        stack.enter_context(_steered(site, shards))
        yield


@contextmanager
def _loop_running(site: Site, queue: int) -> Iterator[None]:
    command = module("bench.modes.hand_back", "--queue", str(queue))
    with running_in_gateway(site, f"queue-loop-{queue}", command, lambda: queue in queue_counts(site)):
        yield


@contextmanager
def _steered(site: Site, shards: int) -> Iterator[None]:
    """By the back end that the appliance chooses on this kernel, too."""
    native = kernel_has_queue_statement()
    with ExitStack() as stack:
        if not native:
            stack.callback(_remove_iptables_rules, site)
            output_of(inside(site.gateway, "iptables-nft-restore", "--noflush"), iptables_rules(shards))
        stack.enter_context(table_loaded(site, TABLE, table(shards, native=native)))
        yield


def _remove_iptables_rules(site: Site) -> None:
    commands: Sequence[Sequence[str]] = (
        ("-D", "PREROUTING", "-j", _IPTABLES_CHAIN),
        ("-F", _IPTABLES_CHAIN),
        ("-X", _IPTABLES_CHAIN),
    )
    for command in commands:
        output_of(inside(site.gateway, "iptables-nft", "-t", RAW_TABLE, *command))


QUEUE_LOOP = Mode("queue-loop", "bare queue loop", QUEUED_REAL_SERVERS, (CLIENT,), _opened, queue_base=QUEUE_BASE)
