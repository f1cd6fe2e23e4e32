"""Tables of nftables, for as long as they are measured.

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
    with table_loaded_in(site.gateway, table, text):
        yield


@contextmanager
def table_loaded_in(namespace: str, table: str, text: str) -> Iterator[None]:
    """The same in another namespace."""
    nft(namespace, "-f", "-", text=text)
    try:
        yield
    finally:
        nft(namespace, "delete", "table", "ip", table)


def nft(namespace: str, *arguments: str, text: str | None = None) -> str:
    """Run nft in a namespace, with `text` as its input. Returns its output. Raises BenchError."""
    return output_of(inside(namespace, "nft", *arguments), text)
