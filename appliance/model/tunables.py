"""Every tunable of the appliance: its name, default, inclusive range, unit and meaning. The only place that lists them.

A tunable is a 64-bit integer in shared memory. A read returns the value in force. A write inside the range takes effect in every
shard at its next packet; any other write is refused and changes nothing. The names, defaults and ranges of the first 34 are those
of the LVS originals (`/proc/sys/net/ipv4/vs/`). People have scripts for them, so they never change.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Tunable(NamedTuple):
    """One tunable. `min` and `max` are inclusive; `unit` is empty for switches, modes and kind numbers; `summary` says what the
    tunable does or limits, as a phrase that is understood without the others.
    """

    name: str
    default: int
    min: int
    max: int
    unit: str
    summary: str

    @property
    def range_text(self) -> str:
        """The allowed range with its unit, for instance ``1000..1800000 ms``."""
        return f"{self.min}..{self.max} {self.unit}".rstrip()


def _switch(name: str, default: int, summary: str) -> Tunable:
    """0 is off, 1 is on."""
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
        "lower the MSS shown to clients by the size of the client-address option",
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
        "ports tried on each local address before a new session is refused",
    ),
)

ACK_STORM_INTERVAL_S = 0.5
"""Longer than this apart, two identical segments are no storm (see synproxy_ack_storm_thresh): keepalives come once a second at
most, a storm in milliseconds."""

_SYNPROXY = (
    Tunable(
        "synproxy_init_mss",
        1452,
        0,
        65535,
        "bytes",
        "largest MSS in a SYN-ACK with a cookie; 0: as large as the routes to the real servers allow",
    ),
    Tunable(
        "synproxy_ack_skb_store_thresh",
        3,
        0,
        5,
        "packets",
        "client packets held, after the first one, while the real server has not answered the SYN of a proxied session",
    ),
    Tunable("synproxy_syn_retry", 3, 0, 6, "times", "retransmissions of the SYN that asks a real server for a proxied client"),
    Tunable(
        "synproxy_ack_storm_thresh",
        10,
        0,
        65535,
        "packets",
        "identical ACKs of a real server that pass in a proxied session; more are dropped as an ACK storm; 0: no limit",
    ),
    Tunable("synproxy_synack_ttl", 63, 1, 255, "hops", "IP TTL of a SYN-ACK with a cookie, as it leaves the gateway"),
    _switch(
        "synproxy_conn_reuse",
        1,
        "let a valid SYN cookie restart the old session of the same client address and port; 0: from no state at all",
    ),
    _switch("synproxy_conn_reuse_close", 1, "let a valid SYN cookie restart an old session in state CLOSE"),
    _switch("synproxy_conn_reuse_time_wait", 1, "let a valid SYN cookie restart an old session in state TIME_WAIT"),
    _switch("synproxy_conn_reuse_fin_wait", 0, "let a valid SYN cookie restart an old session in state FIN_WAIT"),
    _switch("synproxy_conn_reuse_close_wait", 0, "let a valid SYN cookie restart an old session in state CLOSE_WAIT"),
    _switch("synproxy_conn_reuse_last_ack", 0, "let a valid SYN cookie restart an old session in state LAST_ACK"),
    _switch("synproxy_defer", 1, "open a proxied session when the client's first data arrives; 0: at its first valid ACK"),
    _switch("synproxy_sack", 1, "let clients use selective acknowledgements (SACK) in proxied sessions"),
    _switch("synproxy_wscale", 1, "let clients use window scaling in proxied sessions"),
)

_DEFENCE = (
    _switch(
        "defence_tcp_drop",
        1,
        "drop TCP packets to a VIP that belong to no session and cannot open one",
    ),
    _switch("defence_udp_drop", 1, "drop UDP packets to a VIP, unless a UDP service has that address and port"),
    _switch("defence_frag_drop", 1, "drop IP fragments to a VIP or a local address, OSPF excepted"),
)

_TIMEOUTS = (
    _timeout_ms("established", 900_000, 1_800_000, "idle time of a session in ESTABLISHED"),
    _timeout_ms("syn_sent", 120_000, 240_000, "idle time of a session in SYN_SENT"),
    _timeout_ms("syn_recv", 60_000, 120_000, "idle time of a session in SYN_RECV"),
    _timeout_ms("fin_wait", 120_000, 240_000, "idle time of a session in FIN_WAIT"),
    _timeout_ms("time_wait", 120_000, 240_000, "idle time of a session in TIME_WAIT"),
    _timeout_ms("close", 10_000, 20_000, "idle time of a session in CLOSE"),
    _timeout_ms("close_wait", 60_000, 120_000, "idle time of a session in CLOSE_WAIT"),
    _timeout_ms("last_ack", 30_000, 60_000, "idle time of a session in LAST_ACK"),
    _timeout_ms("listen", 120_000, 240_000, "idle time of a session in LISTEN"),
    _timeout_ms("synack", 120_000, 240_000, "idle time of a session in SYNACK"),
)
"""After this time without a packet, in either direction, a session ends."""

_MORE = (
    Tunable("fullnat_toa_kind", 254, 200, 254, "", "kind number of the client-address option"),
    _switch("conn_expire_tcp_rst", 1, "reset both ends of a session that ends by its timeout in ESTABLISHED"),
    _switch(
        "expire_nodest_conn",
        0,
        "end a session whose real server was removed at its client's next packet; 0: drop that packet and keep the session",
    ),
    Tunable("udp_timeout", 300_000, 1000, 600_000, "ms", "idle time of a UDP session"),
    Tunable(
        "tcp_syncookies",
        1,
        0,
        2,
        "",
        'SYN cookies for services with synproxy = "auto": 0 never, 1 while their backlog (tcp_max_syn_backlog) is full, 2 always',
    ),
    Tunable(
        "tcp_max_syn_backlog",
        4096,
        16,
        1_048_576,
        "sessions",
        "half-open sessions that a service may have, in all shards together",
    ),
    _switch(
        "tcp_abort_on_overflow",
        0,
        "answer with RST when a TCP client is refused a session or has none; 0: only when it once returned a valid SYN cookie",
    ),
    Tunable(
        "conn_max",
        1_048_576,
        0,
        16_777_216,
        "sessions",
        "sessions there may be, in all shards together; 0: as many as memory holds",
    ),
    _switch(
        "conn_early_drop",
        1,
        "when a limit is reached, drop the oldest half-open or unconfirmed session for a new one; 0: refuse the new one",
    ),
    Tunable(
        "tcp_max_tw_buckets",
        262_144,
        1,
        16_777_216,
        "sessions",
        "sessions in TIME_WAIT there may be, in all shards together: one more ends the oldest early, but never a shard's latest",
    ),
    Tunable(
        "udp_timeout_unconfirmed",
        30_000,
        1000,
        600_000,
        "ms",
        "idle time of a UDP session until its client has sent again after an answer, when that is less than udp_timeout",
    ),
    Tunable(
        "conn_reserved",
        25,
        0,
        50,
        "percent",
        "part of conn_max that UDP cannot take from TCP, and TCP not from UDP, where there are services of both",
    ),
    Tunable(
        "source_conn_max",
        65_536,
        0,
        16_777_216,
        "sessions",
        "sessions that clients of one source network may have, of TCP and of UDP each, in all shards together; 0: no limit",
    ),
    Tunable("source_conn_prefix", 24, 8, 32, "bits", "length of the prefix that makes a source network for source_conn_max"),
    Tunable(
        "synproxy_in_kernel",
        1,
        0,
        2,
        "",
        "let the lane answer SYNs in the place of the workers when they would answer with a cookie, and drop packets that return "
        "none to services that always do, before netfilter: 0 never, 1 while no rule of the host sees packets before the "
        "appliance, 2 always",
    ),
    Tunable(
        "prepared_admissions",
        1,
        0,
        2,
        "",
        "let the lane open sessions that the workers have decided in advance, of services where that can be done: 0 never, "
        "1 while no rule of the host sees SYNs before the appliance, 2 always",
    ),
    Tunable(
        "strays_in_kernel",
        0,
        0,
        2,
        "",
        "let the lane drop packets to services that belong to no session and open none, before netfilter, of TCP while "
        "defence_tcp_drop is 1, of UDP beyond source_conn_max: 0 never, 1 while no rule of the host sees packets before the "
        "appliance, 2 always",
    ),
)
"""Tunables beyond the 34: those that the LVS originals and the kernel have elsewhere, or as a constant."""

TUNABLES: Mapping[str, Tunable] = MappingProxyType(
    {tunable.name: tunable for tunable in (*_FULLNAT, *_SYNPROXY, *_DEFENCE, *_TIMEOUTS, *_MORE)}
)
"""All tunables by name, in the order in which views show them."""

INDEX: Mapping[str, int] = MappingProxyType({name: index for index, name in enumerate(TUNABLES)})
"""Position of each tunable in the shared-memory array and in every list of values."""

DEFAULTS: tuple[int, ...] = tuple(tunable.default for tunable in TUNABLES.values())
"""Default values in the order of INDEX."""

_LONGEST_NUMBER = 40
"""In digits. A longer number is refused without being read, and a longer text is not repeated in full."""


class TunableError(ValueError):
    """A write that was refused; the message names the tunable, the value and what would be allowed."""


def parse_value(name: str, text: str) -> int:
    """Read a decimal integer inside the range of tunable `name`; surrounding blanks are fine.

    Raises TunableError otherwise. Hexadecimal, octal, a plus sign and underscores are refused: two tools may read such a value
    differently, which is worse than an error.
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
