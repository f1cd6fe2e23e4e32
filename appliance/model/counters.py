"""The names of all counters, in table order. The only place that lists them; the values live in shared memory.

The names of the extended table are a contract (`/proc/net/ip_vs_ext_stats` of the LVS originals).
"""

from typing import Final, NamedTuple

from appliance.model.tcp_state import STATE_NAMES
from appliance.model.verdicts import VERDICTS


class Counter(NamedTuple):
    """A counter that only grows: its name and what one step of it means."""

    name: str
    summary: str


def _reused(prefix: str, *states: str) -> tuple[Counter, ...]:
    total = Counter(f"{prefix}_conn_reused", "sessions restarted by a new connection of the same client, in all")
    names = {"close": "CLOSE", "timewait": "TIME_WAIT", "finwait": "FIN_WAIT", "closetimeout": "CLOSE_WAIT"}
    names |= {"lastack": "LAST_ACK", "estab": "ESTABLISHED"}
    return total, *(Counter(f"{prefix}_conn_reused_{state}", f"of these, from {names[state]}") for state in states)


EXT_COUNTERS: Final = (
    Counter("fullnat_add_toa_ok", "packets that got the client-address option"),
    Counter("fullnat_add_toa_fail_len", "packets without it: too long with it"),
    Counter("fullnat_add_toa_fail_mem", "packets without it: no memory"),
    Counter("fullnat_add_toa_fail_proto", "packets without it: address family without such an option"),
    *_reused("fullnat", "close", "timewait", "finwait", "closetimeout", "lastack", "estab"),
    Counter("synproxy_rs_error", "handshakes with a real server that failed"),
    Counter("synproxy_null_ack", "empty ACKs dropped while waiting for data"),
    Counter("synproxy_bad_ack", "ACKs with a wrong cookie"),
    Counter("synproxy_ok_ack", "ACKs with a right cookie"),
    Counter("synproxy_syn_cnt", "SYNs answered with a cookie"),
    Counter("synproxy_ack_storm", "ACK storms found"),
    Counter("synproxy_synsent_qlen", "client packets too many for the hold queue of their session"),
    *_reused("synproxy", "close", "timewait", "finwait", "closetimeout", "lastack"),
    Counter("defence_ip_frag_drop", "IP fragments dropped"),
    Counter("defence_tcp_drop", "TCP packets to a VIP dropped: no service on that port, or no session and no opening"),
    Counter("defence_udp_drop", "UDP packets to a VIP dropped: no UDP service on that port"),
)

TOA_OK, TOA_FAIL_LEN, TOA_FAIL_MEM, TOA_FAIL_PROTO, FULLNAT_REUSED = range(5)
"""Places in the extended table."""

(RS_ERROR, NULL_ACK, BAD_ACK, OK_ACK, SYN_CNT, ACK_STORM, SYNSENT_QLEN, SYNPROXY_REUSED) = range(11, 19)

SYNPROXY_REUSED_FROM: Final = {
    state: SYNPROXY_REUSED + 1 + index for index, state in enumerate(("CLOSE", "TIME_WAIT", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"))
}
FULLNAT_REUSED_FROM: Final = {
    state: FULLNAT_REUSED + 1 + index
    for index, state in enumerate(("CLOSE", "TIME_WAIT", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "ESTABLISHED"))
}
"""Places of the counters of reuse, by the name of the state a session was in."""

VERDICT_COUNTERS: Final = tuple(Counter(verdict.name, verdict.summary) for verdict in VERDICTS)
"""One per verdict and reason, in the order of `Verdict.index`. Translated packets are not counted here but per real server."""

QUEUE_COUNTERS: Final = (
    Counter("queue_full_drops", "packets the kernel dropped because the queue was full"),
    Counter("socket_drops", "packets the kernel dropped because the socket buffer was full"),
    Counter("emit_errors", "packets of our own that the kernel refused to send"),
    Counter("sessions_expired", "sessions that reached the end of their state's timeout"),
    Counter("worker_starts", "times the worker of this shard was started"),
    Counter("half_open_dropped", "half-open sessions dropped early, each to make room for a new session in a full table"),
    Counter("time_wait_overflows", "sessions in TIME_WAIT that ended early, because there were too many"),
    Counter("sessions_cut", "sessions cut by an operator"),
    Counter("syncookies_engaged", 'times a service in "auto" began to answer with SYN cookies: its backlog was over the limit'),
    Counter("syncookies_disengaged", "times it was well below again, and SYN cookies ended"),
    Counter("handshakes_failed", "sessions that ended because their real server did not answer the SYN of a proven client"),
    Counter("handshakes_abandoned", "sessions that ended because a proven client reset them before its real server had answered"),
    Counter("sessions_replaced", "sessions whose client began anew, and whose real server takes no new connections"),
    Counter("sessions_of_removed", "sessions that ended at their client's packet because their real server was removed"),
)
(
    QUEUE_FULL_DROPS,
    SOCKET_DROPS,
    EMIT_ERRORS,
    SESSIONS_EXPIRED,
    WORKER_STARTS,
    HALF_OPEN_DROPPED,
    TIME_WAIT_OVERFLOWS,
    SESSIONS_CUT,
    SYNCOOKIES_ENGAGED,
    SYNCOOKIES_DISENGAGED,
    HANDSHAKES_FAILED,
    HANDSHAKES_ABANDONED,
    SESSIONS_REPLACED,
    SESSIONS_OF_REMOVED,
) = range(len(QUEUE_COUNTERS))

STATE_FIELDS: Final = (*(name.lower() for name in STATE_NAMES), "orphan")
"""Gauges per shard: sessions by state, as `tcp_state` numbers them; and those of TCP, in any state, whose real server is gone."""

DESTINATION_FIELDS: Final = (
    "in_packets",
    "out_packets",
    "in_bytes",
    "out_bytes",
    "conns",
    "active_conns",
    "inactive_conns",
)
"""Per shard and real server of a service. The first four are laid out so that a Direction is their offset: packets at
`direction`, bytes at `direction + BYTES`. The last two are gauges; a worker sets them to zero when it starts."""

BYTES: Final = 2
CONNS: Final = 4
ACTIVE_CONNS: Final = 5
INACTIVE_CONNS: Final = 6
