"""Every tunable of the appliance: its name, default, inclusive range, unit and meaning. The only place that lists them.

A tunable is a 64-bit integer in shared memory. A read returns the value in force; a write inside the range takes effect in
every shard at its next packet; any other write changes nothing. Names, defaults and ranges are a contract with the people
who script against the LVS originals (`/proc/sys/net/ipv4/vs/`), so they never change.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Tunable(NamedTuple):
    """One knob. `min` and `max` are inclusive; `unit` is empty for switches and plain counts."""

    name: str
    default: int
    min: int
    max: int
    unit: str
    summary: str

    @property
    def range_text(self) -> str:
        """The allowed range as people write it, for instance ``1000..1800000 ms``."""
        return f"{self.min}..{self.max} {self.unit}".rstrip()


def _switch(name: str, default: int, summary: str) -> Tunable:
    return Tunable(name, default, 0, 1, "", summary)


def _timeout_ms(state: str, default: int, maximum: int, summary: str) -> Tunable:
    return Tunable(f"tcp_timeout_{state}", default, 1000, maximum, "ms", summary)


_FULLNAT = (
    _switch(
        "fullnat_timestamp_remove_entry",
        1,
        "take the TCP timestamp option off the SYN that goes to a real server",
    ),
    _switch(
        "fullnat_mss_adjust_entry",
        1,
        "lower the MSS shown to clients by the room the client-address option takes",
    ),
    _switch(
        "fullnat_conn_reused_entry",
        1,
        "let a new SYN restart the old session of the same client address and port",
    ),
    _switch("fullnat_toa_entry", 1, "tell the real server the client's address and port in a TCP option"),
    Tunable("fullnat_lport_max", 65535, 1025, 65535, "port", "highest port used on a local address"),
    Tunable("fullnat_lport_min", 5000, 1025, 65535, "port", "lowest port used on a local address"),
    Tunable(
        "fullnat_lport_tries",
        10000,
        10,
        60000,
        "ports",
        "ports tried on each local address before it counts as exhausted",
    ),
)

_SYNPROXY = (
    Tunable("synproxy_init_mss", 1452, 0, 65535, "bytes", "largest MSS offered to a client in the cookie SYN-ACK"),
    Tunable(
        "synproxy_ack_skb_store_thresh",
        3,
        0,
        5,
        "packets",
        "client packets held while the real server's handshake is under way",
    ),
    Tunable("synproxy_syn_retry", 3, 0, 6, "times", "retransmissions of the SYN to the real server"),
    Tunable(
        "synproxy_ack_storm_thresh",
        10,
        0,
        65535,
        "packets",
        "identical packets that make an ACK storm; 0 turns it off",
    ),
    Tunable("synproxy_synack_ttl", 63, 1, 255, "hops", "IP TTL of the cookie SYN-ACK"),
    _switch(
        "synproxy_conn_reuse",
        1,
        "master switch: a valid cookie ACK may restart the old session of its addresses",
    ),
    _switch("synproxy_conn_reuse_close", 1, "allow that restart from state CLOSE"),
    _switch("synproxy_conn_reuse_time_wait", 1, "allow that restart from state TIME_WAIT"),
    _switch("synproxy_conn_reuse_fin_wait", 0, "allow that restart from state FIN_WAIT"),
    _switch("synproxy_conn_reuse_close_wait", 0, "allow that restart from state CLOSE_WAIT"),
    _switch("synproxy_conn_reuse_last_ack", 0, "allow that restart from state LAST_ACK"),
    _switch("synproxy_defer", 1, "1: open the session when the client's data arrives; 0: at its first valid ACK"),
    _switch("synproxy_sack", 1, "carry SACK-permitted through the cookie handshake"),
    _switch("synproxy_wscale", 1, "carry window scaling through the cookie handshake"),
)

_DEFENCE = (
    _switch(
        "defence_tcp_drop", 1, "drop TCP to a VIP's port that is no service, and to a service what has no session and opens none"
    ),
    _switch("defence_udp_drop", 1, "drop UDP to a VIP, unless a UDP service has that address and port"),
    _switch("defence_frag_drop", 1, "drop IP fragments to a VIP or a local address, OSPF excepted"),
)

_TIMEOUTS = (
    _timeout_ms("established", 900_000, 1_800_000, "idle time of a session in ESTABLISHED"),
    _timeout_ms("syn_sent", 120_000, 240_000, "lifetime of a session in SYN_SENT"),
    _timeout_ms("syn_recv", 60_000, 120_000, "lifetime of a session in SYN_RECV"),
    _timeout_ms("fin_wait", 120_000, 240_000, "lifetime of a session in FIN_WAIT"),
    _timeout_ms("time_wait", 120_000, 240_000, "lifetime of a session in TIME_WAIT"),
    _timeout_ms("close", 10_000, 20_000, "lifetime of a session in CLOSE"),
    _timeout_ms("close_wait", 60_000, 120_000, "lifetime of a session in CLOSE_WAIT"),
    _timeout_ms("last_ack", 30_000, 60_000, "lifetime of a session in LAST_ACK"),
    _timeout_ms("listen", 120_000, 240_000, "lifetime of a session in LISTEN"),
    _timeout_ms("synack", 120_000, 240_000, "lifetime of a session in SYNACK"),
)

_MORE = (
    Tunable("fullnat_toa_kind", 254, 200, 254, "", "kind number of the client-address option"),
    _switch("conn_expire_tcp_rst", 1, "reset both ends of a session that reaches the end of its time in ESTABLISHED"),
    _switch("expire_nodest_conn", 0, "end a session at its next client packet once its real server is gone; 0: drop the packet"),
    Tunable("udp_timeout", 300_000, 1000, 600_000, "ms", "idle time of a UDP session"),
    Tunable(
        "tcp_syncookies",
        1,
        0,
        2,
        "",
        'SYN cookies for services with synproxy = "auto": 0 never, 1 while their backlog is over its limit, 2 always',
    ),
    Tunable("tcp_max_syn_backlog", 4096, 16, 1_048_576, "conns", "half-open sessions that a service may have, in all shards"),
    _switch(
        "tcp_abort_on_overflow",
        0,
        "answer RST to a full table or backlog, no real server, a wrong cookie or an unknown session; 0: stay silent",
    ),
    Tunable("conn_max", 1_048_576, 0, 16_777_216, "conns", "sessions there may be, in all shards; 0: as many as memory holds"),
    _switch(
        "conn_early_drop", 1, "when there are conn_max sessions, drop the oldest half-open one for a new one; 0: refuse that"
    ),
    Tunable(
        "tcp_max_tw_buckets",
        262_144,
        1,
        16_777_216,
        "conns",
        "sessions in TIME_WAIT there may be, in all shards: one more ends the oldest early; each shard keeps its latest",
    ),
)
"""Beyond the contract: what the LVS originals have under `/proc/sys/net/ipv4/vs` outside of that list, or as a constant."""

TUNABLES: Mapping[str, Tunable] = MappingProxyType(
    {tunable.name: tunable for tunable in (*_FULLNAT, *_SYNPROXY, *_DEFENCE, *_TIMEOUTS, *_MORE)}
)

INDEX: Mapping[str, int] = MappingProxyType({name: index for index, name in enumerate(TUNABLES)})
"""Position of each tunable in the shared-memory array and in every list of values."""

DEFAULTS: tuple[int, ...] = tuple(tunable.default for tunable in TUNABLES.values())


_LONGEST_NUMBER = 40
"""Digits; a longer number is refused unread, and a longer text is not repeated in full."""


class TunableError(ValueError):
    """A write that was refused; the message names the tunable, the value and what would be allowed."""


def parse_value(name: str, text: str) -> int:
    """Read a decimal integer inside the range of tunable `name`; surrounding blanks are fine.

    Raises TunableError otherwise. Nothing else is understood: no sign-less hex, no octal, no underscore, because a value
    that two tools read differently is worse than an error.
    """
    tunable, digits = TUNABLES[name], text.strip()
    if not (digits.isascii() and digits.removeprefix("-").isdigit()):
        raise TunableError(f"{name}: {digits[:_LONGEST_NUMBER]!r} is not an integer (allowed: {tunable.range_text})")
    if len(digits) > _LONGEST_NUMBER:
        raise TunableError(f"{name}: a number of {len(digits)} digits is out of range {tunable.range_text}")
    return check_value(name, int(digits))


def check_value(name: str, value: int) -> int:
    """Return `value` when tunable `name` may take it; raises TunableError when it is out of range."""
    tunable = TUNABLES[name]
    if not tunable.min <= value <= tunable.max:
        raise TunableError(f"{name}: {value} is out of range {tunable.range_text}")
    return value
