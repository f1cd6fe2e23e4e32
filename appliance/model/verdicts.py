"""Every verdict the appliance can give and its reason: a closed list, which is also the list of drop counters.

A verdict says what the kernel is told to do with the packet, and why. Verdicts are constants; the packet path builds none.

`/stats/drops` counts the verdicts of DROP and ACCEPT by name, and the reference of reasons is written from the texts here.
"""

from appliance.model import limit_verdicts
from appliance.model.verdict import ALL, Action, Verdict

TO_REAL_SERVER = Verdict(
    Action.REWRITTEN,
    "to_real_server",
    "client packet rewritten for its real server",
    cause="A client's packet of a session, or the SYN that asks a real server for a client that returned a SYN cookie.",
    remedy="Nothing to do: this is normal traffic.",
)
TO_CLIENT = Verdict(
    Action.REWRITTEN,
    "to_client",
    "real server packet rewritten for its client",
    cause="A real server's packet of a session.",
    remedy="Nothing to do: this is normal traffic.",
)
ICMP_TRANSLATED = Verdict(
    Action.REWRITTEN,
    "icmp_translated",
    "ICMP error rewritten for the other end of its session",
    cause="A router or a host could not deliver a packet of a session, for instance because it was too big for the path.",
    remedy="Nothing to do. A steady stream of them points to a link with a small MTU or to a route that is missing.",
)

NOT_OURS = Verdict(
    Action.ACCEPT,
    "not_ours",
    "part of no session and not dropped by the defence: left to the host",
    cause="A packet to a VIP or a local address that belongs to no session, while the defence tunable of its protocol is 0; "
    "or an ICMP message that is about no session.",
    remedy="Nothing to do: the host answers it, as it does for any address of its own. To have such packets dropped, set "
    "defence_tcp_drop or defence_udp_drop to 1.",
)

TRUNCATED = Verdict(
    Action.DROP,
    "truncated",
    "the queue copied only part of the packet (over 3840 bytes)",
    cause="An interface of the gateway has an MTU above 3840 bytes; or the kernel put a large datagram together from "
    "fragments, which it does while defence_frag_drop is 0.",
    remedy="Keep the MTU of both interfaces at 3840 bytes or below, and have applications send smaller datagrams.",
)
BAD_HEADER = Verdict(
    Action.DROP,
    "bad_header",
    "not IPv4, or its bytes are fewer or more than its lengths say",
    cause="The IP version, the length of the IP header or the total length is wrong; or the length of a UDP datagram that "
    "would have opened a session is.",
    remedy="Look for a sender that is broken or hostile. A few of them on the open Internet are normal.",
)
SHORT_HEADER = Verdict(
    Action.DROP,
    "short_header",
    "the packet ends inside its IP, TCP or UDP header",
    cause="A broken or hostile sender.",
    remedy="Nothing to do for a few of them. For many, find the sender by a capture on the client interface.",
)
IP_OPTIONS = Verdict(
    Action.DROP,
    "ip_options",
    "the IPv4 header carries options",
    cause="IP options such as source routing or record route, which almost no application uses.",
    remedy="Have the sender leave IP options out: the appliance translates packets without them only.",
)
FRAGMENT = Verdict(
    Action.DROP,
    "fragment",
    "part of a fragmented packet",
    cause="A fragment reached a shard: it cannot be translated alone.",
    remedy="Find out why the sender fragments (a path with a smaller MTU, UDP datagrams above the MTU). With "
    "defence_frag_drop at 0 the kernel puts fragments together before they come to a queue.",
)
BAD_DATA_OFFSET = Verdict(
    Action.DROP,
    "bad_data_offset",
    "the TCP header is longer than the packet or shorter than a header can be",
    cause="A broken or hostile sender: the data offset of the TCP header is wrong.",
    remedy="Nothing to do for a few of them. For many, find the sender by a capture on the client interface.",
)
BAD_FLAGS = Verdict(
    Action.DROP,
    "bad_flags",
    "TCP flags that no host sends together: none, SYN and FIN, FIN without ACK, …",
    cause="Usually a port scan.",
    remedy="Nothing to do. Block the source in front of the gateway when there are many.",
)
BAD_CHECKSUM = Verdict(
    Action.DROP,
    "bad_checksum",
    "a damaged packet that would have opened a session or been answered",
    cause="A packet was damaged on its way, or its sender computes wrong checksums.",
    remedy="Check cables, network cards and switches between the sender and the gateway. A few of them on the open Internet "
    "are normal.",
)
LAND = Verdict(
    Action.DROP,
    "land",
    "would open a session from an address that no client has: the source is forged",
    cause='The source of the packet is a VIP or a local address, as in a "LAND" attack, or in 0/8, 127/8 or 224/3. The rules '
    "in the kernel drop most of these before (forged_source_drops).",
    remedy="Filter forged sources in front of the gateway. Do not use a VIP from the gateway itself.",
)
BAD_ICMP_CHECKSUM = Verdict(
    Action.DROP,
    "bad_icmp_checksum",
    "an ICMP error with a wrong checksum",
    cause="An ICMP error about a session was damaged on its way, or is forged.",
    remedy="Nothing to do.",
)
NO_SESSION = Verdict(
    Action.DROP,
    "no_session",
    "no session, and not a SYN that could open one",
    cause="A packet of a session that has ended: by its timeout, by an operator, or because its worker was started again. "
    "Or a scan.",
    remedy="When clients complain about connections that hang, compare their idle times with tcp_timeout_established, and "
    "look whether worker_starts grew. With tcp_abort_on_overflow at 1 such a client gets a RST at once.",
)
NO_SERVICE = Verdict(
    Action.DROP,
    "no_service",
    "to a VIP, but to no service of it",
    cause="A packet to a port of a VIP that is no service, and that the rules of the defence in the kernel did not drop before.",
    remedy="Nothing to do for a scan. Otherwise add the service to the configuration, or correct the clients.",
)
NO_REAL_SERVER = Verdict(
    Action.DROP,
    "no_real_server",
    "refused: the service has no real server that is up and has a weight above 0",
    cause="All real servers of the service are down, have weight 0, or were removed.",
    remedy="See with `appliance health` which are down, and why. Give at least one a weight above 0, and reload.",
)
NO_LOCAL_ADDRESS = Verdict(
    Action.DROP,
    "no_local_address",
    "refused: the service has no local address",
    cause="The pool of local addresses that the service uses is empty.",
    remedy="Add an address to the pool in [local_addresses], and restart.",
)
LOCAL_PORTS_EXHAUSTED = Verdict(
    Action.DROP,
    "local_ports_exhausted",
    "refused: no free port on any local address of the service",
    cause="Towards the real server that was picked, all ports that the shard looked at are in use, on every local address. "
    "Sessions in closing states also hold their port, but for those in TIME_WAIT, which give it away.",
    remedy="Add local addresses to the pool of the service, widen fullnat_lport_min..fullnat_lport_max, raise "
    "fullnat_lport_tries, or shorten the timeouts of closing states such as tcp_timeout_close.",
)
REAL_SERVER_GONE = Verdict(
    Action.DROP,
    "real_server_gone",
    "a client packet of a session whose real server was removed",
    cause="A reload removed a real server that still had sessions.",
    remedy="Drain a real server (weight 0) until it has no more sessions before you remove it. With expire_nodest_conn at 1 "
    "such a session ends at its client's next packet.",
)
CHALLENGED = Verdict(
    Action.DROP,
    "challenged",
    "a new SYN on an established session: held until the client proves that it began anew",
    cause="A client lost its connection, for instance by a restart, and uses the same port again; or somebody forges SYNs "
    "to cut sessions off (RFC 5961).",
    remedy="Nothing to do: a client that really began anew gets its connection within one round trip.",
)
UNSEEN_ANSWER = Verdict(
    Action.DROP,
    "unseen_answer",
    "a client packet of a half-open session that acknowledges what no real server has sent",
    cause="Somebody forges a client's address: a client acknowledges the real server's SYN-ACK, which only it has seen. Or a "
    "packet of an older connection was late.",
    remedy="Nothing to do: the session stays half-open, and its handshake can still be completed.",
)
STALE_ANSWER = Verdict(
    Action.DROP,
    "stale_answer",
    "a real server's answer to an older connection from the same local port",
    cause="A local port was used again while the real server still held the connection before it.",
    remedy="Nothing to do: the shard resets the old connection and asks again. When there are many, add local addresses, so "
    "that ports rest longer.",
)
COOKIE_SENT = Verdict(
    Action.REWRITTEN,
    "cookie_sent",
    "a SYN turned into a SYN-ACK with a cookie",
    cause="A SYN to a service whose clients have to prove themselves (synproxy).",
    remedy="Nothing to do. Far more of them than of synproxy_ok_ack mean a SYN flood, which the appliance is holding off.",
)
NULL_COOKIE_ACK = Verdict(
    Action.DROP,
    "null_cookie_ack",
    "an ACK without data that ends a client's handshake, while data is awaited",
    cause="Normal behind SYNPROXY with synproxy_defer at 1: the session opens with the client's first data.",
    remedy="Switch synproxy_defer off for a service whose protocol has the server speak first, such as SMTP, SSH or MySQL.",
)
BAD_COOKIE = Verdict(
    Action.DROP,
    "bad_cookie",
    "no session, and an acknowledgement that is no cookie of this appliance",
    cause="The session of the packet has ended, the cookie is older than the appliance accepts, the appliance was started "
    "again meanwhile, or the packet is part of an ACK flood.",
    remedy="Nothing to do after a restart or during a flood. With tcp_abort_on_overflow at 1 such a client gets a RST at once.",
)
HELD = Verdict(
    Action.DROP,
    "held",
    "a client packet of a session whose real server has not answered yet: kept for it, or not needed",
    cause="Normal behind SYNPROXY: a client that proved itself sends on while the real server is asked.",
    remedy="Nothing to do. Many of them mean that real servers are slow to accept connections.",
)
HOLD_OVERFLOW = Verdict(
    Action.DROP,
    "hold_overflow",
    "a client packet too many while the real server has not answered",
    cause="A client sends more packets than a session holds before the real server answered its SYN.",
    remedy="Nothing to do: the client sends them again. Raise synproxy_ack_skb_store_thresh when clients upload at once, "
    "and find out why real servers answer slowly.",
)
HANDSHAKE_PACKET = Verdict(
    Action.DROP,
    "handshake_packet",
    "a real server's part of a handshake that its client has completed already",
    cause="Normal behind SYNPROXY: the client got its SYN-ACK from the appliance.",
    remedy="Nothing to do.",
)
STORM = Verdict(
    Action.DROP,
    "ack_storm",
    "one of many identical acknowledgements",
    cause="Client and real server disagree about sequence numbers and answer each other's acknowledgements without end.",
    remedy="Nothing to do: the drop ends the storm. synproxy_ack_storm_thresh says how many of them pass.",
)
SYN_BACKLOG_FULL = Verdict(
    Action.DROP,
    "syn_backlog_full",
    "refused: the service has as many half-open sessions as it may",
    cause="A SYN flood to a service without SYN cookies that fills its backlog within half a second, or conn_early_drop at 0.",
    remedy='Leave synproxy at "auto" for the service (with tcp_syncookies at 1), or raise tcp_max_syn_backlog. Check that '
    "the real servers answer.",
)
TABLE_FULL = Verdict(
    Action.DROP,
    "table_full",
    "refused: there are as many sessions as conn_max allows",
    cause="More sessions at once than conn_max, or than one protocol may have of it (conn_reserved), and no half-open or "
    "unconfirmed session that could make room.",
    remedy="Raise conn_max when there is memory for more, or shorten the timeouts of states that hold many sessions (see "
    "/stats/sockstat).",
)
INTERNAL_ERROR = Verdict(
    Action.DROP,
    "internal_error",
    "the appliance failed on this packet; the log says how",
    cause="An error in the appliance.",
    remedy="Report it, with the lines of the log.",
)
SOURCE_LIMIT = Verdict(
    Action.DROP,
    "source_limit",
    "refused: the network of the client has as many sessions as source_conn_max allows",
    cause="One client, or the clients of one network (source_conn_prefix), have very many sessions: an attack, or a large site "
    "behind few addresses. UDP sources may be forged.",
    remedy="See who it is with /conns/top?by=client. Raise source_conn_max when these clients are welcome.",
)

REUSE_REFUSED = Verdict(
    Action.DROP,
    "reuse_refused",
    "answered with RST: a valid SYN cookie on an old session that may not be restarted",
    cause="A client that lost its connection, or closed only one side of it, uses the same port again, and synproxy_conn_reuse "
    "or the switch for the state of its old session is 0.",
    remedy="Set synproxy_conn_reuse_fin_wait, synproxy_conn_reuse_close_wait or synproxy_conn_reuse_last_ack to 1 where clients "
    "come back from the same port.",
)

KEEPALIVE_ANSWERED = Verdict(
    Action.DROP,
    "keepalive_answered",
    "a keepalive probe of a client whose first data is awaited: answered in the place of a real server",
    cause="Normal behind SYNPROXY with synproxy_defer at 1: a client is connected and has sent no data yet.",
    remedy="Nothing to do.",
)
OUTDATED_COOKIE = Verdict(
    Action.DROP,
    "outdated_cookie",
    "answered with RST: a SYN cookie that was valid, but is too old",
    cause="Behind SYNPROXY with synproxy_defer at 1, a client sent its first data, or a keepalive probe, more than three to four "
    "minutes after it connected.",
    remedy="Set synproxy_defer to 0 for a service whose clients connect long before they send anything.",
)

LOST_SESSION = Verdict(
    Action.DROP,
    "lost_session",
    "answered with RST: a packet without a session, after an earlier worker has ended",
    cause="A worker, or the whole appliance, ended and was started again less than tcp_timeout_established ago, and a client or "
    "a real server goes on with a session that was in no lane and ended with it. Or a scan.",
    remedy="Nothing to do: its sender knows now, and can connect again. There are fewer of them when the lane carries sessions.",
)

NONE_HEALTHY = Verdict(
    Action.DROP,
    "none_healthy",
    "refused: no real server of the service is healthy; it gets no answer",
    cause='All real servers of the service are down, or fewer than its quorum are up, and its when_none_healthy is "drop".',
    remedy="See which they are, and why, with `appliance health`. They are taken back as soon as their checks pass.",
)
SERVER_DOWN = Verdict(
    Action.DROP,
    "server_down",
    "a client packet of a session whose real server is down: the session has ended",
    cause='A health check has found the real server dead, and on_down of the service is "expire" (TCP).',
    remedy="Nothing to do: client and real server got RST, and the client's next connection goes to another real server.",
)
SERVICE_FULL, SERVERS_FULL, CLIENT_FULL = LIMITS_REACHED = limit_verdicts.make()
REFUSALS = (NO_REAL_SERVER, NO_LOCAL_ADDRESS, LOCAL_PORTS_EXHAUSTED, SYN_BACKLOG_FULL, TABLE_FULL, SOURCE_LIMIT, NONE_HEALTHY)
"""Sessions that a client asked for and could not get. The director logs them, and LIMITS_REACHED."""

OVERFLOWS = (SYN_BACKLOG_FULL, TABLE_FULL, SOURCE_LIMIT)
"""Refusals that may pass within seconds. They are not answered (but see tcp_abort_on_overflow), so that clients try again."""

VERDICTS: tuple[Verdict, ...] = tuple(ALL)
"""All verdicts, by index."""
