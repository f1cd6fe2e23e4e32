"""A client's packet that belongs to no session although it acknowledges something: whether its sender is told.

A session that is in no lane ends with its worker, also when that is killed, and the next worker does not know it. Its client
finds out with its next packet: a RST in the number that a packet acknowledges is one that its sender obeys (RFC 9293, 3.10.7.1;
RFC 5961, 3.2). Its real server finds out in the same way, but from the host, to which the local address belongs.

Only a worker that has a predecessor does so, and only for as long as a lost session could have been idle. Each packet gets one
answer at most, which is no longer than any packet, and there is a limit, so nobody can be flooded by way of the gateway. A
session that is alive cannot be ended like this: its packets find it; and where they come to a worker of another shard, because
the number of shards has changed since it began, the lane has its flow.
"""

from math import inf

from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_COOKIE, LOST_SESSION, NO_SESSION, NULL_COOKIE_ACK
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.state.output import ShardOutput
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import reverse_key
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, RST, SYN
from appliance.wire.segment import Segment

_RST_PER_S = 1000
_RST_BURST = 500
"""RSTs for lost sessions: one or two per cent of a shard's time. Ten thousand clients that send at once have heard it after ten
seconds, and a flood of forged packets makes no more of them than any host makes for a port where nobody listens."""

_DROPPED = (NO_SESSION, BAD_COOKIE, NULL_COOKIE_ACK)
"""Verdicts on such packets when nobody is told."""


class Strays:
    """Tells the senders of such packets, for one shard."""

    def __init__(self, sessions: Sessions, proxy: SynProxy, output: ShardOutput, now: float, *, has_predecessor: bool) -> None:
        """`has_predecessor`: sessions may have been lost with an earlier worker."""
        self._sessions = sessions
        self._proxy = proxy
        self._output = output
        self._since = now if has_predecessor else -inf
        self._resets = TokenBucket(_RST_PER_S, _RST_BURST, now)

    def tell(self, segment: Segment, verdict: Verdict, now: float) -> Verdict:
        """The verdict on a client's packet without a session, which is `verdict` unless its sender is told of a lost session."""
        if verdict not in _DROPPED or segment.flags & (ACK | RST) != ACK:
            return verdict
        if self._may_be_of_lost_session(segment, verdict, now):
            self._output.segments.append(craft.rst(reverse_key(segment.key), segment.ack))
            return LOST_SESSION
        is_told = self._sessions.tunables.abort and verdict is not NULL_COOKIE_ACK
        if is_told and not self._sessions.lane.carries(segment.key):
            self._proxy.refuse(segment, now)
        return verdict

    def _may_be_of_lost_session(self, segment: Segment, verdict: Verdict, now: float) -> bool:
        """Whether the packet's session may be a lost one, and one more of these may be told now."""
        if now >= self._since + self._sessions.tunables.timeouts_s[TcpState.ESTABLISHED] or segment.flags & SYN:
            return False
        if verdict is NULL_COOKIE_ACK and self._proxy.returns_cookie(segment, now):  # its client has not sent any data yet
            return False
        return not is_damaged(segment.raw) and self._resets.allow(now) and not self._sessions.lane.carries(segment.key)
