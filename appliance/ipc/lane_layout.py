"""The maps of the lane: what Python and the kernel's program both read, as plain data. Pure: it names places and packs bytes.

The lane is a program in the kernel that carries the packets of sessions that Python has admitted. Its maps:

| map | kind | key | value | written by |
|---|---|---|---|---|
| sessions | array, mapped | entry | a session record (`ipc.session_record`) | its shard, kernel |
| flows | hash | flow, 40 bytes | entry * 2 + direction | its shard |
| changed | array of pages, mapped | entry / 4096 | a byte for each entry: 1 after a state moved | kernel, its shard |
| settings | array of one, mapped | 0 | SETTINGS | director |
| real_servers | array, mapped | slot | REAL_SERVER | director |
| interfaces | hash | index of an interface | a byte of InterfaceFlags | director |
| tcp_states | array of one | 0 | `tcp_states()` | director, at its start |
| traffic | array for each CPU | slot * 2 + direction | TRAFFIC | kernel |
| counts | array for each CPU | place in `model.lane_counters` | a 64-bit word | kernel |

An entry belongs to the slot of `policy.steering` of its local port: the entries are cut into SLOTS equal parts, in order. So when
the number of shards changes, a session and its entry get the same new owner.
"""

from collections.abc import Iterator
from enum import IntFlag
from hashlib import blake2s
from struct import Struct

from appliance.ipc.session_record import FIELDS as RECORD_FIELDS
from appliance.ipc.session_record import VERSION as RECORD_VERSION
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.tcp_state import NEXT, TcpState
from appliance.wire.layout import ACK, FIN, RST, SYN

SLOTS = 256
"""As in `policy.steering`; a test holds them equal."""

CHANGED_PAGE_BYTES = 4096
"""Entries for which one value of the map `changed` has bytes."""

LEAST_ENTRIES, MOST_ENTRIES, USUAL_ENTRIES = CHANGED_PAGE_BYTES, 1 << 22, 1 << 18

FLOW_BYTES = 40
FLOW = Struct("<BB2s2s2s16s16s")
"""Family (4 or 6), protocol, zero, source port, destination port, source address, destination address; in network order, and an
address of IPv4 with zeros behind it."""
LOW_PORT_BYTE = 7
"""Where the low byte of the destination port is."""

EVENTS = (SYN, FIN, ACK, RST, 0)
"""The rows of the state tables in the kernel: one set of flags for each event."""
TABLES = 3
STATE_COLUMNS = 16
"""States of a row in the kernel; those beyond `TcpState` are zero."""

SETTINGS_FIELDS: tuple[tuple[str, str], ...] = (
    ("version", "I"),
    ("entries", "I"),
    ("layout_hash", "8s"),
    ("is_open", "B"),
    ("toa", "B"),
    ("toa_kind", "B"),
    ("mss_adjust", "B"),
    ("storm_threshold", "I"),
    ("storm_interval_ns", "Q"),
)
"""`is_open` 0 sends every packet up. `toa`, `toa_kind`, `mss_adjust` and `storm_threshold` are tunables; 0 storms are none."""

SETTINGS = Struct("<" + "".join(code for _, code in SETTINGS_FIELDS))

REAL_SERVER_FIELDS = (("mtu", "I"), ("flags", "I"))
REAL_SERVER = Struct("<II")
"""MTU of the route in bytes (68..65535), and RealServerFlags."""

TRAFFIC_FIELDS = (("packets", "Q"), ("bytes", "Q"))
TRAFFIC = Struct("<QQ")
"""Of IP packets."""

VERSION = 1
"""Of the maps together. Whoever changes anything here increases it."""


class RealServerFlags(IntFlag):
    """Of a value of the map `real_servers`."""

    IS_REMOVED = 1
    """Packets of its clients go up."""
    ASKS_FOR_COOKIES = 2
    """Clients of its service may be asked for a cookie: while a session closes, what may be a new connection goes up."""
    NO_LANE = 4
    """Its service is not carried by the lane."""


class InterfaceFlags(IntFlag):
    """Of a value of the map `interfaces`: the packets that may come in there."""

    CLIENTS = 1
    REAL_SERVERS = 2


def layout_hash() -> bytes:
    """Eight bytes made of everything that both sides have to agree on."""
    parts = (VERSION, RECORD_VERSION, RECORD_FIELDS, SETTINGS_FIELDS, REAL_SERVER_FIELDS, TRAFFIC_FIELDS, FLOW.format)
    names = tuple(counter.name for counter in LANE_COUNTERS)
    return blake2s(repr((*parts, names, CHANGED_PAGE_BYTES, SLOTS)).encode(), digest_size=8).digest()


def flow(family: int, protocol: int, source: bytes, destination: bytes) -> bytes:
    """The key of a packet between two endpoints (address and port in network order) in the map `flows`."""
    return FLOW.pack(family, protocol, b"", source[-2:], destination[-2:], source[:-2], destination[:-2])


def entries_of_slot(slot: int, entries: int) -> range:
    """The entries that belong to a slot of `policy.steering`."""
    size = entries // SLOTS
    return range(slot * size, (slot + 1) * size)


def tcp_states() -> bytes:
    """The state tables: table IN, OUT, FIRST; in each a row for each of EVENTS; in each a byte for each of STATE_COLUMNS."""
    return b"".join(_rows())


def _rows() -> Iterator[bytes]:
    for table in range(TABLES):
        for flags in EVENTS:
            yield bytes(NEXT[table][flags][: len(TcpState)]).ljust(STATE_COLUMNS, b"\0")
