"""Which entries of the host's connection tracking are about traffic of services, and are in use at this moment. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from appliance.doctor.facts import Entry, Setup
from appliance.wire.layout import PROTO_TCP, PROTO_UDP

FRESH_S = 30
"""An entry that has seen no packet for longer is not reported: it may be from a time before the gateway."""

_TIMEOUTS = "net/netfilter/nf_conntrack_"
_STATES = ("", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "syn_sent")
"""By the number of a state: the part of the name of its timeout. linux/netfilter/nf_conntrack_tcp.h."""

SYSCTLS = (
    *(f"{_TIMEOUTS}tcp_timeout_{state}" for state in dict.fromkeys(filter(None, _STATES))),
    f"{_TIMEOUTS}udp_timeout",
    f"{_TIMEOUTS}udp_timeout_stream",
)

_PROTOCOLS = {PROTO_TCP: "tcp", PROTO_UDP: "udp"}


def of_services(entries: Iterable[Entry], setup: Setup, sysctls: Mapping[str, str]) -> Iterator[Entry]:
    """Those of the entries between a client and a service, or a local address and a real server, that are fresh."""
    vips = {(service.protocol, service.vip, service.port) for service in setup.services}
    local = {address for pool in setup.pools.values() for address in pool}
    ports = range(setup.tunables["fullnat_lport_min"], setup.tunables["fullnat_lport_max"] + 1)
    for entry in entries:
        protocol = _PROTOCOLS.get(entry.protocol, "")
        ends = ((entry.source, entry.source_port), (entry.destination, entry.destination_port))
        is_ours = any((protocol, *end) in vips or (protocol and end[0] in local and end[1] in ports) for end in ends)
        if is_ours and _idle_s(entry, sysctls) <= FRESH_S:
            yield entry


def _idle_s(entry: Entry, sysctls: Mapping[str, str]) -> int:
    """For how long the entry has seen no packet; 0 when that cannot be told."""
    if entry.protocol == PROTO_TCP:
        state = _STATES[entry.state] if entry.state is not None and entry.state < len(_STATES) else ""
        names = [f"tcp_timeout_{state}"]
    else:
        names = ["udp_timeout", "udp_timeout_stream"]
    fulls = [int(text) for name in names if (text := sysctls.get(_TIMEOUTS + name, "")).isdigit()]
    return min((full - entry.timeout_s for full in fulls if full >= entry.timeout_s), default=0)
