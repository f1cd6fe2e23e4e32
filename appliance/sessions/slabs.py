"""What the tables and pools of a shard hold, and what that takes: `/proc/slabinfo` for a gateway.

Sizes are those that the interpreter gives for its objects, rounded up as its allocator does; what they refer to counts with
whoever holds it alone.
"""

from collections.abc import Iterator, Sequence, Sized
from sys import getsizeof

from appliance.ipc.rows import Slab
from appliance.nat.lport import PORT_BYTES, LocalPorts
from appliance.sessions.lifecycle import Sessions
from appliance.state.rewrite_record import RECORD_BYTES
from appliance.state.session import Session
from appliance.wire.show import show_address, show_endpoint

_ALIGNMENT_BYTES = 16
_GC_HEAD_BYTES = 16
_ANY_NUMBER, _ANY_TIME, _ANY_KEY = 1 << 31, 1.5, bytes(12)


def _taken(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


_UDP_SESSION_BYTES = (
    _taken(Session.__basicsize__ + _GC_HEAD_BYTES)
    + _taken(getsizeof(bytes(2 * RECORD_BYTES)))
    + 2 * _taken(getsizeof(_ANY_KEY))
    + _taken(getsizeof(_ANY_TIME))
)
"""The entry, its records, its keys and its deadline."""

_TCP_SESSION_BYTES = _UDP_SESSION_BYTES + 5 * _taken(getsizeof(_ANY_NUMBER))
"""And its five numbers: initial sequence number, the ends' acknowledgements, the real server's place and window."""


def slabs(sessions: Sessions) -> Iterator[Slab]:
    """All tables and pools, entries first, each looked at when it is asked for. There may be thousands of pools."""
    tcp, udp = sessions.tcp, sessions.udp
    # The interpreter keeps the memory of entries that are gone for those to come.
    yield Slab("tcp_conn", len(tcp), tcp.most, _TCP_SESSION_BYTES)
    yield Slab("udp_conn", len(udp), udp.most, _UDP_SESSION_BYTES)
    yield _tables("conn_bucket", [bucket for table in (tcp, udp) for buckets in table.by_direction for bucket in buckets])
    yield _tables("timer_slot", sessions.wheel.slots)
    for protocol in ("tcp", "udp"):
        yield from _port_pools(protocol, sessions.local_ports(protocol))


def _tables(name: str, tables: Sequence[Sized]) -> Slab:
    """Hash tables of the interpreter: those that hold anything, and the average size of all."""
    in_use = sum(len(table) > 0 for table in tables)
    return Slab(name, in_use, len(tables), round(sum(map(getsizeof, tables)) / (len(tables) or 1)))


def _port_pools(protocol: str, pools: LocalPorts) -> Iterator[Slab]:
    for local_address, real_server, pool in pools:
        name = f"{protocol}_ports:{show_address(local_address)}>{show_endpoint(real_server[:4], real_server[4:])}"
        yield Slab(name, pool.in_use, pool.size, PORT_BYTES)
