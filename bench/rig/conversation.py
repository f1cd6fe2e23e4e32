"""A shard without a kernel, and a connection through it, whose ends send packets with the numbers that they have come to."""

from collections.abc import Sequence

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Verdict
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.sessions.lane_maps import LaneMaps
from appliance.shard.shard import Shard
from appliance.wire import layout as at
from appliance.wire.flow import flow_key, reverse_key
from appliance.wire.seq import add
from bench.rig.segments import VIP, segment

_CLIENT_ISN, _SERVER_ISN = 3_000_000_000, 3_500_000_000
"""Numbers above 2**30, as three of four are: Python computes with smaller ones faster."""

_SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")
_SYN_ACK_OPTIONS = bytes.fromhex("020405b4 01010402 0103030a")
"""As Linux sends them: MSS, SACK permitted, timestamps in the SYN, window scale."""

_FIRST_PORT, _HOSTS = 1024, 250


def new_shard(maps: LaneMaps | None = None, idle: Sequence[ServicePlan] = ()) -> Shard:
    """A shard with one service, and the lane of these maps. Each draws the same local ports and numbers. Tunables are as shipped,
    but no admissions are prepared: no kernel is there to hand them out. `idle` are services beside it, with slots from 1 on."""
    real_server = RealServerPlan(address="192.0.2.101", port=8080, weight=100, slot=0)
    service = ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), (real_server,))
    slots = 1 + sum(len(other.real_servers) for other in idle)
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, slots))), 1, slots)
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()} | {"prepared_admissions": 0})
    return Shard(Plan(0, 1, 0, slots, (service, *idle), "00" * 16, "11" * 16), shared, now=0.0, maps=maps)


def handled(shard: Shard, raw: bytes, expected: Verdict, now: float) -> None:
    """Hand in a packet. Raises AssertionError for another verdict than the expected one: there is nothing to measure then."""
    verdict = shard.handle(raw, now)
    if verdict is not expected:
        raise AssertionError(f"a packet was {verdict}, not {expected}")


class Conversation:
    """One connection. `number` tells it from others: it stands for a client's address and port."""

    def __init__(self, number: int = 0) -> None:
        port, host = divmod(number, _HOSTS)
        self._inbound = flow_key(bytes((198, 51, 100, host + 1)) + (_FIRST_PORT + port).to_bytes(2, "big"), VIP)
        self._outbound = b""
        self._client_seq, self._server_seq = _CLIENT_ISN, _SERVER_ISN
        self._shift = 0

    def syn(self) -> bytes:
        """The client's SYN."""
        self._client_seq = add(_CLIENT_ISN, 1)
        return segment(self._inbound, at.SYN, seq=_CLIENT_ISN, ack=0, options=_SYN_OPTIONS)

    def answers(self, shown_syn: bytes) -> bytes:
        """The real server's answer to that SYN as it has got it."""
        fields = at.HEADERS.unpack_from(shown_syn)
        self._outbound, self._shift = reverse_key(fields[5]), fields[6] - _CLIENT_ISN
        return self.server(at.SYN | at.ACK, options=_SYN_ACK_OPTIONS)

    def client(self, flags: int = at.ACK, payload: bytes = b"") -> bytes:
        """The client's next packet; it acknowledges all that the real server has sent."""
        raw = segment(self._inbound, flags, payload, self._client_seq, self._server_seq)
        self._client_seq = add(self._client_seq, len(payload) + bool(flags & at.FIN))
        return raw

    def server(self, flags: int = at.ACK, payload: bytes = b"", options: bytes = b"") -> bytes:
        """The same for the real server."""
        raw = segment(self._outbound, flags, payload, self._server_seq, add(self._client_seq, self._shift), options)
        self._server_seq = add(self._server_seq, len(payload) + bool(flags & (at.SYN | at.FIN)))
        return raw

    def opened(self, shard: Shard) -> "Conversation":
        """Open it, until its client has acknowledged the first byte: from then on its packets are as those of any session."""
        handled(shard, self.syn(), TO_REAL_SERVER, 0.0)
        handled(shard, self.answers(shard.output.rewritten), TO_CLIENT, 0.0)
        handled(shard, self.client(), TO_REAL_SERVER, 0.0)
        handled(shard, self.server(payload=b"!"), TO_CLIENT, 0.0)
        handled(shard, self.client(), TO_REAL_SERVER, 0.0)
        return self
