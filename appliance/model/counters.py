"""The names and meanings of all counters, in the order of their tables. The only place that lists them.

The values lie in shared memory, a table for each shard (see `ipc.shared_layout`); what stands here are their places in it. The
names of the extended table are a contract (`/proc/net/ip_vs_ext_stats` of the LVS originals).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from appliance.model.tcp_state import STATE_NAMES
from appliance.model.verdicts import VERDICTS


class Counter(NamedTuple):
    """A counter that only grows. `summary` says what it counts, as a phrase that can stand behind a number."""

    name: str
    summary: str


_REUSED_STATES = {
    "close": "CLOSE",
    "timewait": "TIME_WAIT",
    "finwait": "FIN_WAIT",
    "closetimeout": "CLOSE_WAIT",
    "lastack": "LAST_ACK",
    "estab": "ESTABLISHED",
}
"""Endings of counter names, and the states that they stand for."""


def _reused(prefix: str, by_what: str, *endings: str) -> tuple[Counter, ...]:
    """The counters of reuse, in all and by the state that the session was in before."""
    name = f"{prefix}_conn_reused"
    by_state = (
        Counter(f"{name}_{ending}", f"sessions in state {_REUSED_STATES[ending]} restarted {by_what}") for ending in endings
    )
    return Counter(name, f"sessions restarted {by_what}, whatever their state was"), *by_state


EXT_COUNTERS: Final = (
    Counter("fullnat_add_toa_ok", "packets that were given the client-address option (TOA)"),
    Counter("fullnat_add_toa_fail_len", "packets sent on without the client-address option, because there was no room for it"),
    Counter("fullnat_add_toa_fail_mem", "packets sent on without the client-address option, because memory was short"),
    Counter(
        "fullnat_add_toa_fail_proto", "packets sent on without the client-address option, because none exists for their addresses"
    ),
    *_reused("fullnat", "by a new SYN of the same client address and port", *_REUSED_STATES),
    Counter(
        "synproxy_rs_error", "real servers that refused, or did not answer, the SYN for a client that had returned a SYN cookie"
    ),
    Counter("synproxy_null_ack", "ACKs without data dropped while a client's first data was awaited (synproxy_defer)"),
    Counter("synproxy_bad_ack", "ACKs without a session that carried no valid SYN cookie"),
    Counter("synproxy_ok_ack", "ACKs that carried a valid SYN cookie"),
    Counter("synproxy_syn_cnt", "SYNs answered with a SYN cookie"),
    Counter("synproxy_ack_storm", "identical ACKs of real servers dropped as part of an ACK storm"),
    Counter("synproxy_synsent_qlen", "client packets dropped because their session held as many as it may for its real server"),
    *_reused(
        "synproxy",
        "by a valid SYN cookie of the same client address and port",
        "close",
        "timewait",
        "finwait",
        "closetimeout",
        "lastack",
    ),
    Counter("defence_ip_frag_drop", "IP fragments to a VIP or a local address dropped"),
    Counter("defence_tcp_drop", "TCP packets to a VIP dropped: no service on that port, or no session and not an opening"),
    Counter("defence_udp_drop", "UDP packets to a VIP dropped: no UDP service on that port"),
)
"""The 27 counters of the extended table."""

EXT_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fullnat_conn_reused_closewait": "fullnat_conn_reused_closetimeout",
        "synproxy_conn_reused_closewait": "synproxy_conn_reused_closetimeout",
        "synproxy_conn_reuse": "synproxy_conn_reused",
        "synproxy_ackstorm": "synproxy_ack_storm",
        "synproxy_synsend_qlen": "synproxy_synsent_qlen",
    }
)
"""Names that the LVS kernels have for some extended counters -> the names of the table. A monitor may ask by either; an answer
always has the name of the table."""

TOA_OK, TOA_FAIL_LEN, TOA_FAIL_MEM, TOA_FAIL_PROTO, FULLNAT_REUSED = range(5)
"""Places in the extended table. The counters of reuse by state follow their total."""

(RS_ERROR, NULL_ACK, BAD_ACK, OK_ACK, SYN_CNT, ACK_STORM, SYNSENT_QLEN, SYNPROXY_REUSED) = range(11, 19)

SYNPROXY_REUSED_FROM: Final = {
    state: SYNPROXY_REUSED + 1 + index for index, state in enumerate(("CLOSE", "TIME_WAIT", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"))
}
FULLNAT_REUSED_FROM: Final = {
    state: FULLNAT_REUSED + 1 + index
    for index, state in enumerate(("CLOSE", "TIME_WAIT", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "ESTABLISHED"))
}
"""Places of the counters of reuse in the extended table, by the name of the state that the session was in."""

VERDICT_COUNTERS: Final = tuple(Counter(verdict.name, verdict.summary) for verdict in VERDICTS)
"""One for each verdict, in the order of `Verdict.index`. The packets of sessions are counted for their real server, not here."""

QUEUE_COUNTERS: Final = (
    Counter("queue_full_drops", "packets the kernel dropped because the queue of the shard was full"),
    Counter("socket_drops", "packets the kernel dropped because the socket buffer of the worker was full"),
    Counter("emit_errors", "packets made by the shard itself (RST, ICMP, held packets) that the kernel refused to send"),
    Counter("sessions_expired", "sessions that ended because the timeout of their state was over"),
    Counter("worker_starts", "starts of the shard's worker process: each one after the first means that it had died"),
    Counter("half_open_dropped", "half-open sessions dropped early, each to make room for a new session in a full table"),
    Counter("time_wait_overflows", "sessions in TIME_WAIT that ended early, because there were too many"),
    Counter("sessions_cut", "sessions cut by an operator"),
    Counter("syncookies_engaged", 'times a service in "auto" began to answer with SYN cookies: its backlog was over the limit'),
    Counter(
        "syncookies_disengaged",
        'times a service in "auto" stopped answering with SYN cookies: its backlog was well below the limit again',
    ),
    Counter("handshakes_failed", "sessions that ended because their real server did not answer the SYN of a proven client"),
    Counter("handshakes_abandoned", "sessions that ended because a proven client reset them before its real server had answered"),
    Counter("sessions_replaced", "sessions whose client began anew, and whose real server takes no new connections"),
    Counter("sessions_of_removed", "sessions that ended at their client's packet because their real server was removed"),
    Counter(
        "new_connections_reset",
        "new connections of proven clients answered with RST, because the client's old session may not be restarted",
    ),
    Counter("backlog_dropped", "half-open sessions dropped early, each to make room for a new one in the backlog of its service"),
    Counter("unconfirmed_dropped", "UDP sessions whose client had not sent again after an answer dropped early for new ones"),
    Counter("time_wait_ports_taken", "sessions in TIME_WAIT that ended early, each because a new session needed its local port"),
    Counter(
        "forged_source_drops",
        "packets to a VIP or a local address that the kernel dropped because nobody has their source where they came from; those "
        "of the whole gateway are counted for shard 0",
    ),
    Counter(
        "direct_access_drops",
        "packets from the client side to a real server or a local address, past the services, that the kernel dropped; those of "
        "the whole gateway are counted for shard 0",
    ),
    Counter(
        "forged_client_options",
        "TCP packets past the services to a real server in which the kernel overwrote a client-address option, and fragments "
        "that could have hidden one, which it dropped; those of the whole gateway are counted for shard 0",
    ),
    Counter("lane_full", "sessions that stayed with the shard alone, because the lane had no free entry for them"),
    Counter("sessions_adopted", "sessions taken over from the lane when the worker of the shard started"),
    Counter(
        "records_refused",
        "records of the lane that were given up when the worker of the shard started, because they make no sense",
    ),
    Counter(
        "sessions_unserved",
        "sessions that were reset because their service or their local address was removed, at that moment or when the worker of "
        "the shard started, or because the first data of their client was lost with an earlier worker",
    ),
    Counter("persistence_hits", "new sessions that went to the real server that their client had been sent to before"),
    Counter("persistence_displaced", "clients forgotten before their time was over, each because a new one needed its place"),
    Counter("sessions_of_down", "sessions that ended because their real server is down (on_down, or of UDP)"),
    Counter(
        "denied_drops",
        "SYNs and UDP datagrams to a service that the kernel dropped because a deny list has their source; those of the whole "
        "gateway are counted for shard 0",
    ),
    Counter(
        "not_allowed_drops",
        "SYNs and UDP datagrams to a service that the kernel dropped because no allow list has their source; those of the whole "
        "gateway are counted for shard 0",
    ),
    Counter(
        "client_rate_drops",
        "SYNs that the kernel dropped because their client opens more connections than client_new_per_s; those of the whole "
        "gateway are counted for shard 0",
    ),
    Counter(
        "service_rate_drops",
        "SYNs that the kernel dropped because their service is asked for more connections than new_per_s; those of the whole "
        "gateway are counted for shard 0",
    ),
    Counter(
        "limits_dropped",
        "half-open sessions, and unconfirmed ones of UDP, dropped early, each to make room for a new one within max_conn",
    ),
    Counter(
        "beyond_client_limit",
        "sessions that were reset because they became established when their client had as many as max_conn_per_client allows",
    ),
    Counter(
        "clients_uncounted",
        "sessions that do not count for max_conn_per_client, because the shard has no place to count another client",
    ),
    Counter(
        "access_sets_mended",
        "sets of access lists that were filled again, because somebody else had changed what is in them; those of the whole "
        "gateway are counted for shard 0",
    ),
    Counter("tickets_returned", "prepared admissions that were taken back, or came to nothing"),
    Counter("sessions_short", "sessions opened by prepared admissions that were over before the shard took them into its tables"),
)
"""What happened in a shard beside its verdicts: in its queue, its worker process and its table of sessions."""

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
    NEW_CONNECTIONS_RESET,
    BACKLOG_DROPPED,
    UNCONFIRMED_DROPPED,
    TIME_WAIT_PORTS_TAKEN,
    FORGED_SOURCE_DROPS,
    DIRECT_ACCESS_DROPS,
    FORGED_CLIENT_OPTIONS,
    LANE_FULL,
    SESSIONS_ADOPTED,
    RECORDS_REFUSED,
    SESSIONS_UNSERVED,
    PERSISTENCE_HITS,
    PERSISTENCE_DISPLACED,
    SESSIONS_OF_DOWN,
    DENIED_DROPS,
    NOT_ALLOWED_DROPS,
    CLIENT_RATE_DROPS,
    SERVICE_RATE_DROPS,
    LIMITS_DROPPED,
    BEYOND_CLIENT_LIMIT,
    CLIENTS_UNCOUNTED,
    ACCESS_SETS_MENDED,
    TICKETS_RETURNED,
    SESSIONS_SHORT,
) = range(len(QUEUE_COUNTERS))

STATE_FIELDS: Final = (*(name.lower() for name in STATE_NAMES), "orphan")
"""Gauges of a shard: sessions in each state, in the order of `tcp_state`; then TCP sessions whose real server was removed."""

DESTINATION_FIELDS: Final = (
    "in_packets",
    "out_packets",
    "in_bytes",
    "out_bytes",
    "conns",
    "active_conns",
    "inactive_conns",
    "opening_conns",
    "refused_conns",
    "unanswered_conns",
    "open_conns",
)
"""What a shard counts for each real server of a service. The first four are laid out so that a Direction is their offset: packets
at `direction`, bytes at `direction + BYTES`. From ACTIVE_CONNS to OPENING_CONNS they are gauges: sessions in ESTABLISHED, in
all other states, and those of the latter that are half-open. A worker sets them to zero when it starts. Two more are what
traffic says against the real server: sessions that it refused, and those whose SYN it did not answer. The last one is a gauge
again: sessions whose connection is not over, which limits are about."""

BYTES: Final = 2
CONNS: Final = 4
ACTIVE_CONNS: Final = 5
INACTIVE_CONNS: Final = 6
OPENING_CONNS: Final = 7
REFUSED_CONNS: Final = 8
UNANSWERED_CONNS: Final = 9
OPEN_CONNS: Final = 10
"""Places among DESTINATION_FIELDS."""

DESTINATION_COUNTERS: Final = (*range(ACTIVE_CONNS), REFUSED_CONNS, UNANSWERED_CONNS)
"""The places among DESTINATION_FIELDS of those that only grow."""

OVER_CONNS: Final = OPEN_CONNS
"""A shard itself counts sessions in TIME_WAIT and CLOSE at this place, and not among INACTIVE_CONNS; see `RealServer.publish`."""
