"""The rulesets of the ways other than the appliance's, and how the appliance's own tables are made dormant while those are
measured.

Each is loaded for its own measurements only. A base chain costs time for every packet of the host, also for those that it lets
pass, and a NAT chain makes the kernel track connections.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from appliance.edge.nft import kernel_has_queue_statement
from appliance.policy.ruleset import PRIORITY, TABLE
from appliance.policy.steering import HASH_SEED
from bench.rig.topology import (
    BULK_PORT,
    HTTP_PORT,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    QUEUED_REAL_SERVERS,
    REAL_SERVERS,
    Site,
    inside,
    output_of,
)

NAT_TABLE, QUEUE_TABLE = "bench_nat", "bench_queue"
QUEUE_BASE = 1000
"""Far from the appliance's queues, which start at 0."""

_IPTABLES_CHAIN = "BENCH"
_MARK_BASE = 0xBE00  # clear of the top eight bits, which are the appliance's
_RAW_TABLE = "raw"


def nat_table() -> str:
    """DNAT to both real servers in turn, SNAT: what FULLNAT does, done by conntrack.

    Each VIP has a SNAT address of its own. With a common pool, one client's connections to two VIPs from the same port get the
    same address and port one after the other. Their TCP timestamps have nothing to do with each other, so a real server that
    still holds TIME_WAIT ignores the second SYN (PAWS, RFC 7323 section 5), and the client waits a second.
    """
    in_turn = ", ".join(f"{number} : {address}" for number, address in enumerate(REAL_SERVERS))
    vips = ", ".join(NAT_VIPS)
    pairs = ", ".join(f"{vip} : {local}" for vip, local in zip(NAT_VIPS, NAT_LOCAL_ADDRESSES, strict=True))
    return f"""\
table ip {NAT_TABLE} {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr {{ {vips} }} tcp dport {HTTP_PORT} dnat to numgen inc mod {len(REAL_SERVERS)} map {{ {in_turn} }}
		ip daddr {{ {vips} }} tcp dport {BULK_PORT} dnat to {REAL_SERVERS[0]}
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		snat to ct original ip daddr map {{ {pairs} }}
	}}
}}
"""


def queue_table(shards: int, *, native: bool) -> str:
    """The text of an nftables table that queues both directions of the bare loop's flows, all packets of a flow to one queue.

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
table ip {QUEUE_TABLE} {{
{chains}	chain prerouting {{
		type filter hook prerouting priority {PRIORITY}; policy accept;
		ip daddr {{ {addresses} }} meta l4proto tcp {hashed("ip saddr", "tcp sport")}
		ip saddr {{ {addresses} }} meta l4proto tcp {hashed("ip daddr", "tcp dport")}
	}}
}}
"""


def iptables_rules(shards: int) -> str:
    """The text for iptables-nft-restore that turns the marks of `queue_table` into NFQUEUE. Its jump comes first, so that the
    packets do not reach the appliance's chain: a packet that was queued continues at the next hook, not at the next rule."""
    rules = (f"-A {_IPTABLES_CHAIN} -m mark --mark {_mark(n)} -j NFQUEUE --queue-num {QUEUE_BASE + n}" for n in range(shards))
    chain = (f":{_IPTABLES_CHAIN} - [0:0]", *rules, f"-I PREROUTING -j {_IPTABLES_CHAIN}")
    return "\n".join(("*raw", *chain, "COMMIT", ""))


def _mark(shard: int) -> str:
    return f"{_MARK_BASE + shard:#x}"


@contextmanager
def nat_loaded(site: Site) -> Iterator[None]:
    """With DNAT+SNAT in the gateway."""
    with _table_loaded(site, NAT_TABLE, nat_table()):
        yield


@contextmanager
def queue_loaded(site: Site, shards: int) -> Iterator[None]:
    """With the bare loop's steering in the gateway, by the back end that the appliance chooses on this kernel, too."""
    native = kernel_has_queue_statement()
    with ExitStack() as stack:
        if not native:
            stack.callback(_remove_iptables_rules, site)
            output_of(inside(site.gateway, "iptables-nft-restore", "--noflush"), iptables_rules(shards))
        stack.enter_context(_table_loaded(site, QUEUE_TABLE, queue_table(shards, native=native)))
        yield


@contextmanager
def appliance_asleep(site: Site, *, also_raw: bool) -> Iterator[None]:
    """With the appliance's table dormant: it exists, but no packet reaches it. With `also_raw`, so is the table of its iptables
    rules."""
    tables = [TABLE]
    if also_raw and f"table ip {_RAW_TABLE}" in _nft(site, "list", "tables"):
        tables.append(_RAW_TABLE)
    with ExitStack() as stack:
        for table in tables:
            stack.callback(_nft, site, "add", "table", "ip", table)
            _nft(site, "add", "table", "ip", table, "{ flags dormant; }")
        yield


@contextmanager
def _table_loaded(site: Site, table: str, text: str) -> Iterator[None]:
    output_of(inside(site.gateway, "nft", "-f", "-"), text)
    try:
        yield
    finally:
        _nft(site, "delete", "table", "ip", table)


def _remove_iptables_rules(site: Site) -> None:
    commands: Sequence[Sequence[str]] = (
        ("-D", "PREROUTING", "-j", _IPTABLES_CHAIN),
        ("-F", _IPTABLES_CHAIN),
        ("-X", _IPTABLES_CHAIN),
    )
    for command in commands:
        output_of(inside(site.gateway, "iptables-nft", "-t", _RAW_TABLE, *command))


def _nft(site: Site, *command: str) -> str:
    return output_of(inside(site.gateway, "nft", *command))
