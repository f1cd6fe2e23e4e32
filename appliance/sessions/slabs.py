"""What the tables and pools of a shard hold, and how much memory that takes: `/proc/slabinfo` for a gateway.

Sizes are those that the interpreter gives for its objects, rounded up as its allocator does; what they refer to counts with
whoever holds it alone.
"""

from array import array
from collections.abc import Iterator, Sequence, Sized
from sys import getsizeof

from appliance.ipc.rows import Slab
from appliance.nat.lport import PORT_BYTES, LocalPorts
from appliance.sessions.lifecycle import Sessions
from appliance.state.progress import WORDS_BYTES
from appliance.state.rewrite_record import RECORDS_BYTES
from appliance.state.session import Session
from appliance.wire.flow import FIRST_KEY
from appliance.wire.show import show_address, show_endpoint

_ALIGNMENT_BYTES = 16
_GC_HEAD_BYTES = 16
_ANY_TIME, _ANY_KEY = 1.5, FIRST_KEY


def _taken(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


_SESSION_BYTES = (
    _taken(Session.__basicsize__ + _GC_HEAD_BYTES)
    + _taken(getsizeof(bytes(RECORDS_BYTES)))
    + _taken(getsizeof(array("Q")))
    + _taken(WORDS_BYTES)
    + 2 * _taken(getsizeof(_ANY_KEY))
    + _taken(getsizeof(_ANY_TIME))
)
"""The memory of a session: the object itself, its records, its words, its keys and its deadline."""


def slabs(sessions: Sessions) -> Iterator[Slab]:
    """All tables and pools, sessions first, each looked at when it is asked for. There may be thousands of pools."""
    tcp, udp = sessions.tcp, sessions.udp
    # The interpreter keeps the memory of sessions that have ended for those to come.
    yield Slab("tcp_conn", len(tcp), tcp.most, _SESSION_BYTES)
    yield Slab("udp_conn", len(udp), udp.most, _SESSION_BYTES)
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
        name = f"{protocol}_ports:{show_address(local_address)}>{show_endpoint(real_server)}"
        yield Slab(name, pool.in_use, pool.size, PORT_BYTES)
