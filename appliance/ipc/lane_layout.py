"""The maps of the lane: what Python and the kernel's program both read, as plain data. Pure: it names places and packs bytes.

The lane is a program in the kernel that carries the packets of sessions that Python has admitted. Its maps:

| map | kind | key | value | written by |
|---|---|---|---|---|
| sessions | array, mapped | entry | a session record (`ipc.session_record`) | its shard, kernel |
| flows | hash | flow, 40 bytes | entry * 2 + direction; see FIRST_RESERVATION | its shard, kernel |
| changed | array of pages, mapped | entry / 4096 | a byte for each entry: 1 after a state moved | kernel, its shard |
| settings | array of one, mapped | 0 | SETTINGS | director |
| real_servers | array, mapped | slot | REAL_SERVER | director |
| interfaces | hash | index of an interface | a byte of InterfaceFlags | director |
| tcp_states | array of one | 0 | `tcp_states()` | director, at its start |
| traffic | array for each CPU | slot * 2 + direction | TRAFFIC | kernel |
| counts | array for each CPU | place in `model.lane_counters` | a 64-bit word | kernel |
| front_doors | hash | VIP and port, see `front_door_key` | FRONT_DOOR | director |
| cookie_keys | array of three, mapped | the number of an epoch modulo 3 | COOKIE_KEY | director |
| steering | array of one | 0 | STEERING | director |
| admissions | hash | VIP and port, see `front_door_key` | the first ring, that of shard 0; others are behind it | director |
| proven | hash | VIP and port, see `front_door_key` | the same, for clients that have returned a SYN cookie | director |
| proofs | hash | entry | the IP packet by which its client has returned its cookie, PROOF_BYTES | kernel, its shard takes out |
| rings | array, mapped | number of a ring | RING of `ipc.admission_layout` | its shard, kernel |
| lookup_tables | array, mapped | number of a table | LOOKUP of the same | its shard |
| remembered | array, mapped | number of a bucket | a bucket of `ipc.persistence_table` | all shards, kernel |
| latches | array, mapped | number of a latch | LATCH | its shard, kernel |
| homes | array, mapped | entry | HOME of the same | its shard, kernel |
| lines | array, mapped | number of a pool * LINES_OF_POOL + number of its line | LINE of the same | its shard, kernel |
| stray_rules | hash | VIP and port, see `front_door_key` | STRAY_RULE | director |
| outside | array of one, mapped | 0 | OUTSIDE | each shard its byte; director, at its start |
| known_clients | hash that forgets | addresses and ports of a client's packet | when it went up, in ns | kernel |
| stray_budget | array of one for each CPU | 0 | STRAY_BUDGET | kernel |
| datagram_rules | hash | VIP and port, see `front_door_key` | DATAGRAM_RULE | director |
| datagram_clients | array of pages, mapped | place / 4096 | a byte for each place, see DATAGRAM_CLIENTS | its shard |
| refused_sources | hash that forgets | REFUSED_SOURCE_KEY | REFUSED_SOURCE | its shard |

An entry belongs to the slot of `policy.steering` of its local port: the entries are cut into SLOTS equal parts, in order. So when
the number of shards changes, a session and its entry get the same new owner.
"""

from collections.abc import Iterator
from enum import IntFlag
from hashlib import blake2s
from struct import Struct

from appliance.ipc.admission_layout import HOME_FIELDS, LINE_FIELDS, LOOKUP_FIELDS, LOOKUP_TABLES, RING_FIELDS
from appliance.ipc.fields import offsets
from appliance.ipc.persistence_table import BUCKET_ENTRIES, BUCKETS
from appliance.ipc.persistence_table import FIELDS as REMEMBERED_FIELDS
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

FIRST_RESERVATION = 1 << 30
"""Added to the first slot of a shard, the entry that a client's flow leads to while the shard is about to open a session for it,
or has one that is half-open and not in the lane. No session has that entry, so the client's packets go up, and nobody opens
another session for it."""

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
    ("generation", "I"),
    ("timestamp_remove", "B"),
    ("settings_reserved", "3s"),
)
"""`is_open` 0 sends every packet up. `toa`, `toa_kind`, `mss_adjust` and `storm_threshold` are tunables, and so is
`timestamp_remove`; 0 storms are none. `generation` is that of the tunables, see RING_FIELDS."""

SETTINGS = Struct("<" + "".join(code for _, code in SETTINGS_FIELDS))

REAL_SERVER_FIELDS = (("mtu", "I"), ("flags", "I"))
REAL_SERVER = Struct("<II")
"""MTU of the route in bytes (68..65535), and RealServerFlags."""

TRAFFIC_FIELDS = (("packets", "Q"), ("bytes", "Q"))
TRAFFIC = Struct("<QQ")
"""Of IP packets."""

FRONT_DOOR_KEY = Struct("<BB2s16s")
"""Family (4 or 6), zero, port and address in network order; an address of IPv4 has zeros behind it."""

FRONT_DOOR_FIELDS: tuple[tuple[str, str], ...] = (
    ("mss", "H"),
    ("most_mss", "H"),
    ("held_packets", "B"),
    ("ttl", "B"),
    ("scale", "B"),
    ("sack", "B"),
    ("first_latch", "I"),
)
"""A service whose SYNs the kernel answers with a cookie. `mss` is what the answer offers, in bytes; `most_mss` the largest one
that is remembered of a client, 0 for no limit; `ttl` the time to live of the answer as it leaves the gateway; `first_latch` the
latch of shard 0, those of the others are behind it, or NO_LATCH; the others are as in `model.syn_offer.AnswerTerms`."""

FRONT_DOOR = Struct("<" + "".join(code for _, code in FRONT_DOOR_FIELDS))

FRONT_DOORS = 16384
"""How many services the kernel answers for at most; the SYNs of others go up."""

LATCHES = 16384
"""Latches of front doors, for all services and shards together."""

LATCH_FIELDS: tuple[tuple[str, str], ...] = (
    ("cookies", "Q"),
    ("is_open", "I"),
    ("is_kept", "I"),
    ("cookies_until_ns", "Q"),
    ("last_cookie_ns", "Q"),
    ("latch_reserved", "32s"),
)
LATCH = Struct("<" + "".join(code for _, code in LATCH_FIELDS))
"""The latch of a service's front door for the clients of one shard: their SYNs are answered while the shard has written 1 to
`is_open`. `cookies` counts them; it is never set back.

It also says whether clients may have cookies that are still good, in nanoseconds of the monotonic clock: until `cookies_until_ns`
they may have one of the shard, and for as long as a cookie is good after `last_cookie_ns` one of the kernel. That holds while
`is_kept` is 1; else only a shard knows."""

LATCH_OFFSETS = offsets(LATCH_FIELDS)

NO_LATCH = 0xFFFFFFFF
"""In the place of the first latch: the SYNs of all clients are answered."""

COOKIE_KEY_FIELDS = (("next_epoch", "Q"), ("state", "32s"))
COOKIE_KEY = Struct("<Q8I")
"""The epoch after that of the key (`model.syn_cookie.epoch_of`), 0 while there is no key; and `model.syn_cookie.key_state`."""

COOKIE_KEYS = 3
"""The key of this moment; the next one, so that none is missing when the epoch changes; and the one before, of cookies that are
on their way."""

STEERING_FIELDS: tuple[tuple[str, str], ...] = (("hash_seed", "I"), ("shards", "I"), ("shard_of_slot", f"{SLOTS}s"))
STEERING = Struct("<" + "".join(code for _, code in STEERING_FIELDS))
"""As `policy.steering` has them: the shard that gets the packets of a client."""

PROOFS = 8192
"""Packets that wait at most, of clients that have returned a SYN cookie, until real servers answer; those of others go up."""

PROOF_BYTES = 1536
"""The largest of them, from the IP header on: more than an Ethernet frame has."""

PROOF_HEADERS = 40
"""Bytes of its headers: it has no options."""

STRAY_RULE_FIELDS: tuple[tuple[str, str], ...] = (
    ("cookies", "B"),
    ("defers", "B"),
    ("drops", "B"),
    ("stray_reserved", "B"),
    ("allowance", "I"),
    ("stray_latch", "I"),
)
"""A service whose packets of no session are judged by the kernel. `cookies`: an acknowledgement may return a cookie, and one that
does not is dropped. `defers`: the service waits for data, as `synproxy_defer` says. `drops`: what cannot return a cookie is
dropped; without `cookies` no packet can. `allowance` is how many of those that would be dropped go up all the same, on each CPU
in each window of STRAY_WINDOW_BITS: a shard may have an answer to one of them. `stray_latch` is NO_LATCH, or the latch of shard
0: then the latch of a client's shard says whether an acknowledgement may return a cookie, as `cookies` does for all of them."""

STRAY_RULE = Struct("<" + "".join(code for _, code in STRAY_RULE_FIELDS))

STRAY_WINDOW_BITS = 27
"""A window is 2 to the power of this many nanoseconds: 0.13 s."""

STRAY_BUDGET_FIELDS: tuple[tuple[str, str], ...] = (("window", "Q"), ("spent", "Q"), ("spent_on_syns", "Q"))
STRAY_BUDGET = Struct("<QQQ")
"""The number of the window, and how many strays went up in it, and how many SYNs on half-open sessions while their clients get
cookies."""

SYNS_AGAIN_ALLOWED = 100
"""How many of such SYNs go up on a CPU in a window: more than the clients of a full backlog send again."""

KNOWN_CLIENTS = 65536
"""Clients whose packets go up, because one of them went up a moment ago for a good reason: a shard may know a session of which
the kernel knows nothing yet, as while it asks a real server. The oldest are forgotten first."""

OUTSIDE_SHARDS = 64
OUTSIDE_FIELDS: tuple[tuple[str, str], ...] = (("shards", f"{OUTSIDE_SHARDS}s"),)
OUTSIDE = Struct(f"<{OUTSIDE_SHARDS}s")
"""A byte for each shard: 1 while it has sessions that might be in the lane and are not, because there was no room. While there is
such a shard, no packet of no session is dropped."""

DATAGRAM_RULE_FIELDS: tuple[tuple[str, str], ...] = (("source_mask", "4s"), ("place_bits", "I"))
DATAGRAM_RULE = Struct("<4sI")
"""A service of UDP whose datagrams that would open a session are dropped while their source network gets none. `source_mask` cuts
the network from an address; a shard has 2 to the power of `place_bits` places of DATAGRAM_CLIENTS."""

DATAGRAM_CLIENTS = 1 << 22
"""Places for clients of UDP: each shard has an equal share of them, rounded down to a power of two. A client's address and port
say which place it has there, see `datagram_place`. It counts the sessions of clients that have it, and stays at 255 once it was
there. So where it is 0, no session has that client; where it is not, only the shard knows."""

DATAGRAM_MULTIPLIER = 0x9E3779B97F4A7C15
"""2 to the power of 64, divided by the golden ratio: neighbouring clients have places far from each other."""

REFUSED_SOURCES = 4096
"""Source networks that are refused at the same time; the kernel forgets those first that it has not seen for longest."""

REFUSED_SOURCE_KEY = Struct("<4sI")
"""The first address of a network, in network order, and a shard."""

REFUSED_SOURCE_FIELDS: tuple[tuple[str, str], ...] = (("until_ns", "Q"), ("generation", "I"), ("refused_reserved", "I"))
REFUSED_SOURCE = Struct("<QII")
"""A network that gets no new session of UDP in the shard until this time of the monotonic clock, while the tunables are those of
this generation."""

VERSION = 11
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
    """Eight bytes made of everything that a run and the next one have to agree on. Front doors and keys are made anew by each."""
    records = (
        RECORD_VERSION,
        RECORD_FIELDS,
        SETTINGS_FIELDS,
        REAL_SERVER_FIELDS,
        TRAFFIC_FIELDS,
        RING_FIELDS,
        LINE_FIELDS,
        HOME_FIELDS,
        (LOOKUP_FIELDS, LOOKUP_TABLES),
        FLOW.format,
        OUTSIDE.format,
        LATCH.format,
        REFUSED_SOURCE.format,
        (DATAGRAM_CLIENTS, DATAGRAM_MULTIPLIER),
        PROOF_BYTES,
        (REMEMBERED_FIELDS, BUCKET_ENTRIES, BUCKETS),
    )
    parts = (VERSION, *records)
    names = tuple(counter.name for counter in LANE_COUNTERS)
    return blake2s(repr((*parts, names, CHANGED_PAGE_BYTES, SLOTS)).encode(), digest_size=8).digest()


def flow(family: int, protocol: int, source: bytes, destination: bytes) -> bytes:
    """The key of a packet between two endpoints (address and port in network order) in the map `flows`."""
    return FLOW.pack(family, protocol, b"", source[-2:], destination[-2:], source[:-2], destination[:-2])


def front_door_key(address: bytes, port: int) -> bytes:
    """The key of a service of IPv4 in the map `front_doors`."""
    return FRONT_DOOR_KEY.pack(4, 0, port.to_bytes(2, "big"), address)


def datagram_place_bits(shards: int) -> int:
    """The logarithm of how many places of DATAGRAM_CLIENTS each of so many shards has."""
    return (DATAGRAM_CLIENTS.bit_length() - 1) - (shards - 1).bit_length()


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
