"""Tables of nftables in the gateway, for as long as they are measured.

A base chain costs time for every packet of the host, also for those that it lets pass, and a NAT chain makes the kernel track
connections.
"""

from collections.abc import Iterator
from contextlib import contextmanager

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


def _nft(site: Site, *command: str) -> str:
    return output_of(inside(site.gateway, "nft", *command))
