"""A packet that belongs to no session although it acknowledges something: whether its sender is told that there is none.

A session that is in no lane ends with its worker, also when that is killed, and the next worker does not know it. Its ends find
out with their next packets: a RST in the number that a packet acknowledges is one that its sender obeys (RFC 9293, 3.10.7.1;
RFC 5961, 3.2).

Only a worker that has a predecessor does so, and only for as long as a lost session could have been idle. Each packet gets one
answer at most, which is no longer than any packet, and there is a limit, so nobody can be flooded by way of the gateway. A
session that is alive cannot be ended like this: its packets find it; and where those of its client come to a worker of another
shard, because the number of shards has changed since it began, the lane has its flow.

A local address is an address of the host as well, which may have connections of its own there, also to real servers. So the
kernel is asked before a real server is answered; and what a worker does not answer, the host does, where its firewall lets it.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from math import inf

from appliance.ipc.plan import Plan, ServicePlan
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_COOKIE, LOST_SESSION, NO_SESSION, NOT_OURS, NULL_COOKIE_ACK
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.state.output import ShardOutput
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import destination_of, pack_endpoint, reverse_key, source_of, split_endpoint
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, RST, SYN
from appliance.wire.segment import Segment

HostHasSocket = Callable[[bytes], bool]
"""Whether a segment with this key is for a TCP socket of the host itself, or nobody knows."""

_RST_PER_S = 1000
_RST_BURST = 500
"""RSTs to clients of lost sessions, and as many to real servers: one or two per cent of a shard's time each. Ten thousand clients
that send at once have heard it after ten seconds, and a flood of forged packets makes no more of them than any host makes for a
port where nobody listens."""

_DROPPED = (NO_SESSION, BAD_COOKIE, NULL_COOKIE_ACK)
"""Verdicts on such packets of clients when nobody is told."""


class Strays:
    """Tells the senders of such packets, for one shard."""

    def __init__(
        self, plan: Plan, sessions: Sessions, proxy: SynProxy, output: ShardOutput, host_has: HostHasSocket, now: float
    ) -> None:
        self.has_predecessor = plan.has_predecessor
        """Whether sessions may have been lost with an earlier worker."""
        self._sessions = sessions
        self._proxy = proxy
        self._output = output
        self._host_has = host_has
        self._since = now if plan.has_predecessor else -inf
        self._to_clients = TokenBucket(_RST_PER_S, _RST_BURST, now)
        self._to_real_servers = TokenBucket(_RST_PER_S, _RST_BURST, now)
        self._pairs = set[tuple[bytes, bytes]]()
        self.add(plan.services)

    def add(self, services: Iterable[ServicePlan]) -> None:
        """Services that are new or have changed. Sessions that were lost may be of earlier ones as well."""
        if self.has_predecessor:
            self._pairs.update(_pairs(services))

    def tell_client(self, segment: Segment, verdict: Verdict, now: float) -> Verdict:
        """The verdict on a client's packet without a session, which is `verdict` unless its sender is told of a lost session."""
        if verdict not in _DROPPED or segment.flags & (ACK | RST) != ACK:
            return verdict
        if self._may_be_of_lost_session(segment, verdict, now):
            return self._reset(segment)
        is_told = self._sessions.tunables.abort and verdict is not NULL_COOKIE_ACK
        if is_told and not self._sessions.lane.carries(segment.key):
            self._proxy.refuse(segment, now)
        return verdict

    def tell_real_server(self, segment: Segment, verdict: Verdict, now: float) -> Verdict:
        """The same for a packet that is sent to no service: `verdict` unless a real server is told of a lost session."""
        if verdict is not NOT_OURS or segment.flags & (ACK | RST) != ACK or not self._may_be_lost(now):
            return verdict
        local_address, port = split_endpoint(destination_of(segment.key))
        least, most = self._sessions.tunables.lport_range
        if (source_of(segment.key), local_address) not in self._pairs or not least <= int.from_bytes(port, "big") <= most:
            return verdict
        if is_damaged(segment.raw) or not self._to_real_servers.allow(now) or self._host_has(segment.key):
            return verdict
        return self._reset(segment)

    def _may_be_lost(self, now: float) -> bool:
        """Whether a session that was lost could still be alive."""
        return now < self._since + self._sessions.tunables.timeouts_s[TcpState.ESTABLISHED]

    def _may_be_of_lost_session(self, segment: Segment, verdict: Verdict, now: float) -> bool:
        """Whether the session of a client's packet may be a lost one, and one more client may be told now."""
        if not self._may_be_lost(now) or segment.flags & SYN:
            return False
        if verdict is NULL_COOKIE_ACK and self._proxy.returns_cookie(segment, now):  # its client has not sent any data yet
            return False
        return not is_damaged(segment.raw) and self._to_clients.allow(now) and not self._sessions.lane.carries(segment.key)

    def _reset(self, segment: Segment) -> Verdict:
        self._output.segments.append(craft.rst(reverse_key(segment.key), segment.ack))
        return LOST_SESSION


def _pairs(services: Iterable[ServicePlan]) -> Iterator[tuple[bytes, bytes]]:
    """Endpoint of a real server and local address, for all between which there may have been sessions."""
    return (
        (pack_endpoint(IPv4Address(real_server.address), real_server.port), IPv4Address(local_address).packed)
        for service in services
        if service.protocol == "tcp"
        for real_server in service.real_servers
        for local_address in service.local_addresses
    )
