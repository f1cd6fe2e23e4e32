"""The C header of the kernel's program, written from the definitions that Python uses. Pure: it makes a text.

So neither side has a number for a place that the other one reads. The build writes it anew each time; it is not kept.
"""

from collections.abc import Iterator, Mapping
from enum import IntFlag
from hashlib import blake2s

from appliance.ipc import admission_layout, lane_layout, persistence_table, session_record
from appliance.ipc.fields import offsets as offsets_of
from appliance.ipc.lane_layout import InterfaceFlags, RealServerFlags
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, Flags
from appliance.ipc.syn_options import SYN_OPTIONS_BYTES
from appliance.model import syn_cookie
from appliance.model.lane_counters import LANE_COUNTER_PLACE
from appliance.model.tcp_state import TcpState
from appliance.wire.layout import TTL_OF_OUR_SEGMENTS

_C_TYPES = {"B": "__u8", "b": "__s8", "H": "__u16", "I": "__u32", "Q": "__u64"}
"""By `struct` code of a number, the type of the kernel's headers."""

_FLOW_FIELDS = (
    ("family", "B"),
    ("protocol", "B"),
    ("reserved", "H"),
    ("source_port", "H"),
    ("destination_port", "H"),
    ("source_address", "16s"),
    ("destination_address", "16s"),
)
"""As `lane_layout.flow` packs them; the compiler checks the size, and the tests of the program the rest."""

_FRONT_DOOR_KEY_FIELDS = (("family", "B"), ("reserved", "B"), ("port", "H"), ("address", "16s"))
"""As `lane_layout.front_door_key` packs them."""

_REFUSED_SOURCE_KEY_FIELDS = (("network", "4s"), ("shard", "I"))
"""As `lane_layout.REFUSED_SOURCE_KEY` packs them."""

Fields = tuple[tuple[str, str], ...]


PROGRAM_MARK = "appliance lane layout "
"""In the compiled program, what stands before `program_layout`."""


def header() -> str:
    """The text of the header."""
    return "\n".join((*_lines(), f'#define PROGRAM_LAYOUT "{PROGRAM_MARK}{program_layout()}"')) + "\n"


def program_layout() -> str:
    """Sixteen hexadecimal digits made of all that the header says: a program that was compiled with another one is not ours."""
    return blake2s("\n".join(_lines()).encode(), digest_size=8).hexdigest()


def _lines() -> Iterator[str]:
    yield "/* Written by appliance/ipc/lane_header.py: change nothing here. */"
    yield "#pragma once"
    yield "#include <linux/types.h>"
    yield ""
    yield from _constants(
        {
            "RECORD_VERSION": session_record.VERSION,
            "SYN_OPTIONS_BYTES": SYN_OPTIONS_BYTES,
            "LAYOUT_HASH": f'"{_escaped(lane_layout.layout_hash())}"',
            "CHANGED_PAGE_BYTES": lane_layout.CHANGED_PAGE_BYTES,
            "USUAL_ENTRIES": lane_layout.USUAL_ENTRIES,
            "STATE_COLUMNS": lane_layout.STATE_COLUMNS,
            "LANE_COUNTERS": len(LANE_COUNTER_PLACE),
            "STEERING_SLOTS": lane_layout.SLOTS,
            "KNOWN_CLIENTS": lane_layout.KNOWN_CLIENTS,
            "STRAY_WINDOW_BITS": lane_layout.STRAY_WINDOW_BITS,
            "SYNS_AGAIN_ALLOWED": lane_layout.SYNS_AGAIN_ALLOWED,
            "OUTSIDE_SHARDS": lane_layout.OUTSIDE_SHARDS,
            "LATCHES": lane_layout.LATCHES,
            "DATAGRAM_CLIENTS": lane_layout.DATAGRAM_CLIENTS,
            "DATAGRAM_MULTIPLIER": f"{lane_layout.DATAGRAM_MULTIPLIER:#x}ull",
            "REFUSED_SOURCES": lane_layout.REFUSED_SOURCES,
            "NO_LATCH": f"{lane_layout.NO_LATCH:#x}u",
        }
    )
    yield from _constants(_flags("", Flags) | _flags("RS_", RealServerFlags) | _flags("SIDE_", InterfaceFlags))
    yield from _constants(_of_cookies() | _of_admissions())
    yield from _enum("lane_counter", LANE_COUNTER_PLACE, "COUNT_")
    yield from _enum("tcp_state", {state.name.lower(): state.value for state in TcpState}, "TCP_STATE_")
    yield from _enum("state_table", {name: place for place, name in enumerate(("in", "out", "first"))}, "TABLE_")
    yield from _enum("state_event", {name: place for place, name in enumerate(("syn", "fin", "ack", "rst", "none"))}, "EVENT_")
    yield from _structs()


def _structs() -> Iterator[str]:
    yield from _struct("session_record", session_record.FIELDS, RECORD_BYTES, OFFSETS)
    yield from _struct("flow", _FLOW_FIELDS, lane_layout.FLOW_BYTES)
    yield from _struct("settings", lane_layout.SETTINGS_FIELDS, lane_layout.SETTINGS.size)
    yield from _struct("real_server", lane_layout.REAL_SERVER_FIELDS, lane_layout.REAL_SERVER.size)
    yield from _struct("traffic", lane_layout.TRAFFIC_FIELDS, lane_layout.TRAFFIC.size)
    yield from _struct("front_door_key", _FRONT_DOOR_KEY_FIELDS, lane_layout.FRONT_DOOR_KEY.size)
    yield from _struct("front_door", lane_layout.FRONT_DOOR_FIELDS, lane_layout.FRONT_DOOR.size)
    yield from _struct("cookie_key", lane_layout.COOKIE_KEY_FIELDS, lane_layout.COOKIE_KEY.size)
    yield from _struct("steering", lane_layout.STEERING_FIELDS, lane_layout.STEERING.size)
    yield from _struct("ring", admission_layout.RING_FIELDS, admission_layout.RING.size)
    yield from _struct("lookup_table", admission_layout.LOOKUP_FIELDS, admission_layout.LOOKUP.size)
    yield from _struct("line", admission_layout.LINE_FIELDS, admission_layout.LINE.size)
    yield from _struct("home", admission_layout.HOME_FIELDS, admission_layout.HOME.size)
    yield from _struct("remembered", persistence_table.FIELDS, 8 * len(persistence_table.FIELDS))
    yield from _struct("stray_rule", lane_layout.STRAY_RULE_FIELDS, lane_layout.STRAY_RULE.size)
    yield from _struct("stray_budget", lane_layout.STRAY_BUDGET_FIELDS, lane_layout.STRAY_BUDGET.size)
    yield from _struct("outside", lane_layout.OUTSIDE_FIELDS, lane_layout.OUTSIDE.size)
    yield from _struct("latch", lane_layout.LATCH_FIELDS, lane_layout.LATCH.size)
    yield from _struct("datagram_rule", lane_layout.DATAGRAM_RULE_FIELDS, lane_layout.DATAGRAM_RULE.size)
    yield from _struct("refused_source_key", _REFUSED_SOURCE_KEY_FIELDS, lane_layout.REFUSED_SOURCE_KEY.size)
    yield from _struct("refused_source", lane_layout.REFUSED_SOURCE_FIELDS, lane_layout.REFUSED_SOURCE.size)
    yield from _struct("changed_page", (("entries", f"{lane_layout.CHANGED_PAGE_BYTES}s"),), lane_layout.CHANGED_PAGE_BYTES)
    next_bytes = len(lane_layout.tcp_states())
    yield from _struct("tcp_states", (("next", f"{next_bytes}s"),), next_bytes)


def _of_cookies() -> dict[str, int | str]:
    """What a cookie is made of, and what waits with one. The table of sizes is a list of calls of a macro: a table in memory
    would be one more map."""
    names = ("SLOT_S", "SLOTS", "SLOTS_PER_KEY", "NO_SCALE", "MOST_SCALE", "DEFAULT_MSS", "ADVERTISED_SCALE")
    hashed = ("OFFER_BITS", "AUTH_BITS", "MESSAGE_BYTES")
    return {
        "FRONT_DOORS": lane_layout.FRONT_DOORS,
        "COOKIE_KEYS": lane_layout.COOKIE_KEYS,
        "PROOFS": lane_layout.PROOFS,
        "PROOF_BYTES": lane_layout.PROOF_BYTES,
        "PROOF_HEADERS": lane_layout.PROOF_HEADERS,
        "TTL_OF_OUR_SEGMENTS": TTL_OF_OUR_SEGMENTS,
        **{f"COOKIE_{name}": getattr(syn_cookie, name) for name in (*names, *hashed)},
        "FOR_EACH_COOKIE_MSS(OF)": " ".join(f"OF({mss})" for mss in syn_cookie.MSS_TABLE),
    }


def _of_admissions() -> dict[str, int | str]:
    """Sizes and marks of rings and lines."""
    sizes = ("RINGS", "RING_PLACES", "SCHEDULE_PLACES", "STEPS", "STEP_BITS", "LINES_OF_POOL", "LINE_PLACES")
    lookups = ("LOOKUP_TABLES", "LOOKUP_PLACES")
    ways = ("BY_ADDRESS", "BY_PERSISTENCE", "BY_LOOKUP")
    marks = ("NO_POOL", "VOID_TICKET", "GONE", "PLACE_TAKEN", "PLACE_VOID", "PLACE_OUT", "PLACE_LET_GO")
    return {
        **{name: getattr(admission_layout, name) for name in (*sizes, *lookups, *ways)},
        "REMEMBERED_BUCKETS": persistence_table.BUCKETS,
        "REMEMBERED_OF_BUCKET": persistence_table.BUCKET_ENTRIES,
        **{name: f"{getattr(admission_layout, name):#x}u" for name in marks},
        "REST_NS": f"{admission_layout.REST_NS}ull",
    }


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _constants(values: Mapping[str, int | str]) -> Iterator[str]:
    yield from (f"#define {name} {value}" for name, value in values.items())
    yield ""


def _flags(prefix: str, flags: type[IntFlag]) -> dict[str, int]:
    return {f"{prefix}{flag.name}": flag.value for flag in flags}


def _enum(name: str, values: Mapping[str, int], prefix: str) -> Iterator[str]:
    yield f"enum {name} {{"
    yield from (f"\t{prefix}{word.upper()} = {value}," for word, value in values.items())
    yield "};"
    yield ""


def _struct(name: str, fields: Fields, size: int, offsets: Mapping[str, int] | None = None) -> Iterator[str]:
    """A struct whose layout the compiler checks: it has to put each field where Python puts it."""
    places = offsets or offsets_of(fields)
    yield f"struct {name} {{"
    yield from (f"\t{_member(field, code)};" for field, code in fields)
    yield "};"
    yield f'_Static_assert(sizeof(struct {name}) == {size}, "size of {name}");'
    for field, _ in fields:
        yield f'_Static_assert(__builtin_offsetof(struct {name}, {field}) == {places[field]}, "place of {field} in {name}");'
    yield ""


def _member(field: str, code: str) -> str:
    if code.endswith("s"):
        return f"__u8 {field}[{code.removesuffix('s')}]"
    return f"{_C_TYPES[code]} {field}"
