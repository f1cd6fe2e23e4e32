"""The parameters of the host's own TCP (`net.ipv4`): for sockets of the host, never for sessions of the gateway."""

from appliance.model.host_parameter import HostParameter, Number


def _one(low: int, high: int) -> tuple[Number, ...]:
    return (Number("value", low, high),)


_MOST_SOCKETS = 16_777_216
_MOST_PAGES = 2**31 - 1
_BUFFER = 1024, 2**30
_SECONDS = 1, 32_767
_OF_MEMORY = ()

_TIME_WAIT = (
    HostParameter(
        "tcp_timestamps",
        "ipv4/tcp_timestamps",
        _one(0, 2),
        "",
        (1,),
        "Whether TCP segments of the host carry timestamps (RFC 7323): 0 no, 1 yes, from an offset of each connection's own, 2 "
        "yes, from one clock.",
        "It is often set to 0 against SYNs that vanish behind a NAT. The cause of those is tcp_tw_recycle, or clients with "
        "unlike clocks behind one address; 0 also takes away the measured round trip and the protection against old segments "
        "(PAWS).",
        "Leave it on. That real servers see many clients behind one local address is what the tunable "
        "fullnat_timestamp_remove_entry is for: with 1 the option is taken off their SYN.",
        tunables=("fullnat_timestamp_remove_entry",),
    ),
    HostParameter(
        "tcp_tw_reuse",
        "ipv4/tcp_tw_reuse",
        _one(0, 2),
        "",
        (2,),
        "Whether a new connection that this host opens may take a port whose last connection to that server is in TIME_WAIT: 0 "
        "no, 1 yes, 2 (since Linux 4.19) only on the loopback interface.",
        "It is set on servers with many sockets in TIME_WAIT. It changes nothing there: it is about connections that the host "
        "opens, and needs timestamps on both ends.",
        "The gateway opens no sockets towards real servers, so it makes no difference to sessions. Those take a port again at "
        "once, because each shows its real server a sequence number above the last one.",
        tunables=("fullnat_conn_reused_entry", "synproxy_conn_reuse_time_wait"),
    ),
    HostParameter(
        "tcp_tw_recycle",
        "ipv4/tcp_tw_recycle",
        _one(0, 1),
        "",
        (0,),
        "Whether sockets in TIME_WAIT end after about a second, and SYNs are refused whose timestamp is older than the last one "
        "seen from that address.",
        "It is set to have fewer sockets in TIME_WAIT. With timestamps on, clients behind one NAT have unlike clocks, so all but "
        "one of them have their SYNs dropped without a word. Linux 4.12 removed it for that reason; tcp_tw_reuse is harmless.",
        "It has to be 0 on every real server with an old kernel: all clients come from the few local addresses, as from a NAT.",
        recommended=(0,),
        refused="it drops clients behind a NAT, and no kernel since Linux 4.12 has it",
        until="4.12",
    ),
    HostParameter(
        "tcp_fin_timeout",
        "ipv4/tcp_fin_timeout",
        _one(1, 3600),
        "s",
        (60,),
        "How long a socket that its program has closed waits in FIN_WAIT_2 for the peer's FIN.",
        "It is taken for the time of TIME_WAIT, also in books. TIME_WAIT is 60 s in Linux, a constant of the kernel, and no "
        "parameter changes it.",
        "It does nothing for sessions of the gateway, which have both times as tunables, and unlike the kernel as two of them.",
        tunables=("tcp_timeout_fin_wait", "tcp_timeout_time_wait"),
    ),
    HostParameter(
        "tcp_max_tw_buckets",
        "ipv4/tcp_max_tw_buckets",
        _one(1, _MOST_SOCKETS),
        "sockets",
        _OF_MEMORY,
        "How many sockets may be in TIME_WAIT; the next one is destroyed at once, with a warning in the kernel's log.",
        "It is lowered to get rid of TIME_WAIT. That takes the protection of TIME_WAIT away: a late segment of an old connection "
        "can get into the new one. A socket in TIME_WAIT costs some 250 bytes and no CPU time.",
        "Sessions of the gateway are no sockets; the tunable of the same name limits those.",
        tunables=("tcp_max_tw_buckets", "tcp_timeout_time_wait"),
    ),
    HostParameter(
        "tcp_rfc1337",
        "ipv4/tcp_rfc1337",
        _one(0, 1),
        "",
        (0,),
        "Whether a socket in TIME_WAIT stays there when a RST comes (RFC 1337): 1 it stays, 0 it ends.",
        "It is set against attacks with RST. It is about TIME_WAIT alone; against blind RSTs on open connections the kernel "
        "always does what RFC 5961 says.",
        "It is about sockets of the host. A RST moves a session of the gateway only when its numbers are exactly right.",
    ),
)

_OPENING = (
    HostParameter(
        "tcp_syncookies",
        "ipv4/tcp_syncookies",
        _one(0, 2),
        "",
        (1,),
        "Whether a listener of the host answers SYNs with cookies: 0 never, 1 while its queue of half-open connections is full, "
        "2 always.",
        "A queue that is full because the program is slow to accept is then hidden, and not mended; and connections made by a "
        "cookie have neither window scaling nor SACK unless both ends use timestamps.",
        "Listeners of the host, the API among them, should keep 1. What is done for services is said by the tunable of the same "
        "name and by synproxy in lvs.toml; sessions made by their cookies keep window scaling and SACK.",
        recommended=(1,),
        tunables=("tcp_syncookies",),
    ),
    HostParameter(
        "tcp_max_syn_backlog",
        "ipv4/tcp_max_syn_backlog",
        _one(16, 1_048_576),
        "connections",
        _OF_MEMORY,
        "How many half-open connections (SYN received, no ACK yet) a listener remembers when it does not use cookies.",
        "It is raised alone. The queue of a listener is also limited by the backlog that its program asks for, and by "
        "net.core.somaxconn: the smallest of the three counts.",
        "It is about listeners of the host; the tunable of the same name is the limit of each service.",
        tunables=("tcp_max_syn_backlog",),
    ),
    HostParameter(
        "tcp_abort_on_overflow",
        "ipv4/tcp_abort_on_overflow",
        _one(0, 1),
        "",
        (0,),
        "What a client gets whose handshake ends while the program is behind with accepting: 0 nothing, so that it tries again, "
        "1 a RST.",
        "It is set to learn of overflows early. Every short burst then becomes `connection reset` for users; the counter "
        "ListenOverflows tells the same and harms nobody.",
        "It is about listeners of the host. The tunable of the same name says what clients of services get.",
        recommended=(0,),
        tunables=("tcp_abort_on_overflow",),
    ),
    HostParameter(
        "tcp_syn_retries",
        "ipv4/tcp_syn_retries",
        _one(1, 127),
        "times",
        (6,),
        "How often the host sends the SYN of a connection that it opens again; with 6 it gives up after one to two minutes, by "
        "kernel.",
        "It is taken for the time a client waits for this host. It is about connections that the host itself opens.",
        "It is not used for sessions: a SYN to a real server is the client's own, or is sent again as often as "
        "synproxy_syn_retry says.",
        tunables=("synproxy_syn_retry",),
    ),
    HostParameter(
        "tcp_synack_retries",
        "ipv4/tcp_synack_retries",
        _one(0, 255),
        "times",
        (5,),
        "How often a listener of the host sends its SYN-ACK again before it forgets the half-open connection; 5 takes about a "
        "minute.",
        "It is set to 0 or 1 against SYN floods. Then one lost packet costs an honest client its connection; cookies need no "
        "such price.",
        "Services answer with cookies under a flood, and a cookie is never sent again.",
        tunables=("tcp_timeout_syn_recv",),
    ),
    HostParameter(
        "ip_local_port_range",
        "ipv4/ip_local_port_range",
        (Number("first", 1024, 65_535), Number("last", 1024, 65_535)),
        "port",
        (32_768, 60_999),
        "The ports from which the host takes one for a connection that it opens, or a socket that is bound to none.",
        "It is widened down to ports on which programs of the host listen, which then find their port in use. "
        "ip_local_reserved_ports takes single ports out of it.",
        "Sessions do not use it; they have fullnat_lport_min and fullnat_lport_max on the local addresses. Keep the two apart "
        "when programs on this host open connections from a local address: answers to a port of both go to a worker.",
        tunables=("fullnat_lport_min", "fullnat_lport_max"),
    ),
)

_RETRIES = (
    HostParameter(
        "tcp_retries1",
        "ipv4/tcp_retries1",
        _one(1, 255),
        "times",
        (3,),
        "After how many retransmissions of one segment the host looks for another route.",
        "It is taken for the point at which a connection is given up; that is tcp_retries2.",
        "It has nothing to do with sessions: the gateway retransmits no data of theirs.",
    ),
    HostParameter(
        "tcp_retries2",
        "ipv4/tcp_retries2",
        _one(1, 255),
        "times",
        (15,),
        "After how many retransmissions of one segment the host gives a connection up; 15 takes some 15 minutes, 8 about 100 s.",
        "It is taken for a number of seconds, or of segments. The pauses double, so each step more doubles the time; RFC 1122 "
        "asks for 100 s at least, which is 8.",
        "It has nothing to do with sessions: the gateway retransmits no data of theirs.",
    ),
    HostParameter(
        "tcp_max_orphans",
        "ipv4/tcp_max_orphans",
        _one(1, _MOST_SOCKETS),
        "sockets",
        _OF_MEMORY,
        "How many sockets may be open that no program holds any more; the next one is reset at once, with a warning in the "
        "kernel's log.",
        "It is lowered to get rid of such sockets. They are connections whose last data is still on its way, and the peer loses "
        "it.",
        "Sessions are no sockets; conn_max limits those.",
        tunables=("conn_max",),
        of_host=True,
    ),
    HostParameter(
        "tcp_orphan_retries",
        "ipv4/tcp_orphan_retries",
        _one(0, 255),
        "times",
        (0,),
        "How often the host retransmits on a connection that no program holds any more; 0 means 8.",
        "0 is taken for `never`. The smallest number of retransmissions is had with 1.",
        "It has nothing to do with sessions: the gateway retransmits no data of theirs.",
    ),
)

_MEMORY = (
    HostParameter(
        "tcp_mem",
        "ipv4/tcp_mem",
        (Number("min", 1, _MOST_PAGES), Number("pressure", 1, _MOST_PAGES), Number("max", 1, _MOST_PAGES)),
        "pages",
        _OF_MEMORY,
        "Memory of all TCP sockets of the host together: below min nothing is done, above pressure buffers shrink, above max "
        "sockets get none.",
        "It is set in bytes. The unit is a page, mostly 4096 bytes, so a number meant as bytes switches the limit off.",
        "The gateway keeps no data of sessions in sockets, so the kernel's own choice is right.",
        of_host=True,
    ),
    HostParameter(
        "tcp_rmem",
        "ipv4/tcp_rmem",
        (Number("min", *_BUFFER), Number("default", *_BUFFER), Number("max", *_BUFFER)),
        "bytes",
        _OF_MEMORY,
        "Receive buffer of each TCP socket: its least size, its size at first, and how far the kernel lets it grow.",
        "net.core.rmem_max is raised with it. That one limits programs that ask for a size of their own (SO_RCVBUF), which also "
        "ends the growth; for all others max counts.",
        "Sessions have no socket buffers; throughput through the gateway does not depend on it.",
    ),
    HostParameter(
        "tcp_wmem",
        "ipv4/tcp_wmem",
        (Number("min", *_BUFFER), Number("default", *_BUFFER), Number("max", *_BUFFER)),
        "bytes",
        _OF_MEMORY,
        "Send buffer of each TCP socket: its least size, its size at first, and how far the kernel lets it grow.",
        "A large default is given to every socket, however idle; max is the number that a fast, long path needs.",
        "Sessions have no socket buffers; throughput through the gateway does not depend on it.",
    ),
)

_KEEPALIVE = (
    HostParameter(
        "tcp_keepalive_time",
        "ipv4/tcp_keepalive_time",
        _one(*_SECONDS),
        "s",
        (7200,),
        "How long a connection is idle before the host sends the first keepalive probe, when its program asked for keepalive.",
        "It is lowered to keep connections alive, and nothing happens: only sockets with SO_KEEPALIVE send probes.",
        "A session ends when it was idle for tcp_timeout_established, 15 minutes by default. Ends that keep a connection idle "
        "longer have to send keepalives more often than that; this value counts on those ends, not on the gateway.",
        tunables=("tcp_timeout_established",),
    ),
    HostParameter(
        "tcp_keepalive_intvl",
        "ipv4/tcp_keepalive_intvl",
        _one(*_SECONDS),
        "s",
        (75,),
        "The time between two keepalive probes while the peer does not answer.",
        "It is taken for the time between probes of a healthy connection, which is tcp_keepalive_time.",
        "It has nothing to do with sessions: the gateway sends no probes, and passes those of both ends on.",
    ),
    HostParameter(
        "tcp_keepalive_probes",
        "ipv4/tcp_keepalive_probes",
        _one(1, 127),
        "times",
        (9,),
        "After how many keepalive probes without an answer the host gives a connection up.",
        "It is changed alone. A dead peer is noticed after tcp_keepalive_time and this many times tcp_keepalive_intvl: 2 hours "
        "and 11 minutes by default.",
        "It has nothing to do with sessions: the gateway sends no probes, and passes those of both ends on.",
    ),
)

TCP_PARAMETERS = (*_TIME_WAIT, *_OPENING, *_RETRIES, *_MEMORY, *_KEEPALIVE)
"""All of them, topic by topic."""
