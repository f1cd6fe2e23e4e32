"""The parameters of the host that decide whether a gateway works on it: forwarding, and the connection tracking beside it."""

from appliance.model.host_parameter import HostParameter, Number

_SWITCH = (Number("value", 0, 1),)

_FORWARDING = (
    HostParameter(
        "ip_forward",
        "ipv4/ip_forward",
        _SWITCH,
        "",
        (0,),
        "Whether the host forwards IPv4 packets: 1 yes, 0 no.",
        "It is set last. A write of it also sets other parameters back (forwarding of each interface, ICMP redirects), so it "
        "belongs first.",
        "A rewritten packet is routed to the other side. The appliance sets it to 1 by itself.",
        recommended=(1,),
        needed=(1,),
    ),
    HostParameter(
        "rp_filter",
        "ipv4/conf/*/rp_filter",
        (Number("value", 0, 2),),
        "",
        (0,),
        "Whether a packet is dropped whose source would be reached by another interface (RFC 3704): 0 never, 1 strict, 2 only "
        "when it would be reached by none.",
        "0 on the interface is taken for off. The kernel goes by the larger of `all` and the interface, and 1 at `all` is what "
        "some distributions set. Nothing is logged unless log_martians is on.",
        "A rewritten packet has an address of the gateway as its source, which a strict check drops. The appliance sets its "
        "interfaces to 2 where the check would be strict.",
        recommended=(2,),
        needed=(0, 2),
    ),
    HostParameter(
        "accept_local",
        "ipv4/conf/*/accept_local",
        _SWITCH,
        "",
        (0,),
        "Whether a packet is taken that arrives with an address of the host itself as its source: 1 yes, 0 no.",
        "It is left at 0 because no packet of one's own seems to arrive. Packets that a program rewrites at prerouting do.",
        "A rewritten packet has an address of the gateway as its source, and the kernel drops it without this. The appliance "
        "sets its interfaces to 1.",
        recommended=(1,),
        needed=(1,),
        since="2.6.33",
    ),
    HostParameter(
        "send_redirects",
        "ipv4/conf/*/send_redirects",
        _SWITCH,
        "",
        (1,),
        "Whether the host tells a sender by ICMP that there is a shorter way when a packet leaves by the interface that it came "
        "on.",
        "0 at `all` is taken to be enough. It is on when either `all` or the interface says so.",
        "With clients and real servers on one network, real servers would be told to answer clients past the gateway. The "
        "appliance sets `all` and its interfaces to 0.",
        recommended=(0,),
        needed=(0,),
    ),
)

_CONNTRACK = (
    HostParameter(
        "nf_conntrack_max",
        "netfilter/nf_conntrack_max",
        (Number("value", 1024, 33_554_432),),
        "entries",
        (),
        "How many connections the host's connection tracking may hold; at the limit new ones are dropped (`table full, dropping "
        "packet`).",
        "It is raised without nf_conntrack_buckets, so that each bucket has a longer list to search; or set to 0, which means no "
        "limit. An entry takes some 300 bytes that are never swapped out.",
        "Traffic of services is not tracked, so the gateway does not fill this table; conn_max is the limit of its own. Raise it "
        "for other traffic of this host alone.",
        tunables=("conn_max",),
        of_host=True,
    ),
    HostParameter(
        "nf_conntrack_tcp_timeout_established",
        "netfilter/nf_conntrack_tcp_timeout_established",
        (Number("value", 60, 432_000),),
        "s",
        (432_000,),
        "How long the host's connection tracking remembers an established TCP connection on which nothing is sent.",
        "It is left at its default of five days, so that connections that vanished without a FIN fill the table, and the table "
        "is made larger instead.",
        "RFC 5382 asks for 2 hours and 4 minutes at least, which is recommended. Sessions of the gateway have "
        "tcp_timeout_established, 15 minutes by default.",
        recommended=(7440,),
        tunables=("tcp_timeout_established",),
    ),
    HostParameter(
        "nf_conntrack_buckets",
        "netfilter/nf_conntrack_buckets",
        (Number("value", 1024, 8_388_608),),
        "buckets",
        (),
        "How many lists the host's connection tracking spreads its entries over; each takes 8 bytes.",
        "It is forgotten when nf_conntrack_max is raised. A list should have about one entry on average, and more than four make "
        "every lookup slow.",
        "Traffic of services is not tracked, so the kernel's own choice is right unless you raise nf_conntrack_max.",
        of_host=True,
    ),
)

GATEWAY_PARAMETERS = (*_FORWARDING, *_CONNTRACK)
"""All of them."""
