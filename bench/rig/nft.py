"""Tables of nftables in the gateway: ours for as long as they are measured, the appliance's dormant meanwhile.

A base chain costs time for every packet of the host, also for those that it lets pass, and a NAT chain makes the kernel track
connections.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from appliance.policy.ruleset import TABLE
from bench.rig.topology import Site, inside, output_of

RAW_TABLE = "raw"
"""The table of iptables rules in front of connection tracking."""


@contextmanager
def table_loaded(site: Site, table: str, text: str) -> Iterator[None]:
    """With a table of the family ip in the gateway. Raises BenchError when nft refuses its text."""
    output_of(inside(site.gateway, "nft", "-f", "-"), text)
    try:
        yield
    finally:
        _nft(site, "delete", "table", "ip", table)


@contextmanager
def appliance_asleep(site: Site) -> Iterator[None]:
    """With the tables dormant of an appliance that runs all the time: they exist, but no packet reaches them."""
    tables = [TABLE]
    if f"table ip {RAW_TABLE}" in _nft(site, "list", "tables"):
        tables.append(RAW_TABLE)
    with ExitStack() as stack:
        for table in tables:
            stack.callback(_nft, site, "add", "table", "ip", table)
            _nft(site, "add", "table", "ip", table, "{ flags dormant; }")
        yield


def _nft(site: Site, *command: str) -> str:
    return output_of(inside(site.gateway, "nft", *command))
