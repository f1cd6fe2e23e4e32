"""NAT by the kernel: nftables with DNAT and SNAT, connections tracked by conntrack."""

from contextlib import AbstractContextManager

from bench.modes.mode import Mode
from bench.rig.nft import table_loaded
from bench.rig.topology import BULK_PORT, HTTP_PORT, NAT_LOCAL_ADDRESSES, NAT_VIPS, REAL_SERVERS, Site

TABLE = "bench_nat"


def table() -> str:
    """DNAT to both real servers in turn, SNAT: what FULLNAT does, done by conntrack.

    Each VIP has a SNAT address of its own. With a common pool, one client's connections to two VIPs from the same port get the
    same address and port one after the other. Their TCP timestamps have nothing to do with each other, so a real server that
    still holds TIME_WAIT ignores the second SYN (PAWS, RFC 7323 section 5), and the client waits a second.
    """
    in_turn = ", ".join(f"{number} : {address}" for number, address in enumerate(REAL_SERVERS))
    vips = ", ".join(NAT_VIPS)
    pairs = ", ".join(f"{vip} : {local}" for vip, local in zip(NAT_VIPS, NAT_LOCAL_ADDRESSES, strict=True))
    return f"""\
table ip {TABLE} {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr {{ {vips} }} tcp dport {HTTP_PORT} dnat to numgen inc mod {len(REAL_SERVERS)} map {{ {in_turn} }}
		ip daddr {{ {vips} }} meta l4proto {{ tcp, udp }} th dport {BULK_PORT} dnat to {REAL_SERVERS[0]}
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		snat to ct original ip daddr map {{ {pairs} }}
	}}
}}
"""


def _opened(site: Site, _shards: int) -> AbstractContextManager[None]:
    return table_loaded(site, TABLE, table())


NFT_NAT = Mode("nft-nat", "nft DNAT+SNAT", NAT_VIPS, NAT_LOCAL_ADDRESSES, _opened, is_tracked=True)
