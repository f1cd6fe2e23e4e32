"""What the kernel is told so that it can drop datagrams that would open a session and get none (`ipc.lane_layout`).

Two things: which clients may have a session of UDP in this shard, whether or not it is in the lane; and which source networks get
no new one for a moment. The shard decides the latter when it refuses one, and the kernel refuses the others in its place. The
moment is short, so what a network gets is what it would get: places that become free meanwhile go to whoever comes next.
"""

from appliance.ipc.lane_layout import (
    DATAGRAM_MULTIPLIER,
    REFUSED_SOURCE,
    REFUSED_SOURCE_KEY,
    datagram_place_bits,
)
from appliance.ipc.shared_layout import SharedState
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.live_tunables import LiveTunables
from appliance.state.session import Session
from appliance.wire.flow import source_address_of, source_of

REFUSED_S = 0.1
"""How long the kernel refuses a network before its shard decides again."""

_MASK = (1 << 64) - 1
_NS_PER_S = 1_000_000_000
_MOST = 255
"""What a place counts at most. Once there it stays."""

_REMEMBERED = 1024
"""How many networks a shard knows that it has told the kernel of."""


class DatagramClients:
    """Those of one shard. Where there is no lane nothing is counted."""

    def __init__(self, places: memoryview, shard: int, shards: int) -> None:
        """`places` are those of all shards, those of this one are emptied."""
        bits = datagram_place_bits(shards)
        self._shift = 64 - bits
        self._counts = places[shard << bits : (shard + 1) << bits]
        self._counts[:] = bytes(len(self._counts))

    def add(self, client_key: bytes) -> None:
        """A client, whose packets have this flow key, has a session."""
        counts = self._counts
        if counts and counts[place := self._place(client_key)] != _MOST:
            counts[place] += 1

    def discard(self, client_key: bytes) -> None:
        """It is over."""
        counts = self._counts
        if counts and 0 < counts[place := self._place(client_key)] < _MOST:
            counts[place] -= 1

    def _place(self, client_key: bytes) -> int:
        return (int.from_bytes(source_of(client_key), "big") * DATAGRAM_MULTIPLIER & _MASK) >> self._shift


class RefusedSources:
    """The source networks that one shard refuses."""

    def __init__(self, maps: LaneMaps, shard: int) -> None:
        self._maps, self._shard = maps, shard
        self._generation = 0
        self._until: dict[bytes, float] = {}

    def read_tunables(self, generation: int) -> None:
        """Tunables have changed: nothing that was decided before is in force any more."""
        self._generation = generation & 0xFFFFFFFF
        self._until.clear()

    def refuse(self, client_key: bytes, prefix_bits: int, now: float) -> None:
        """The network of this client gets no new session for a moment. Its prefix has `prefix_bits`."""
        mask = _MASK << 32 - prefix_bits & 0xFFFFFFFF
        network = (int.from_bytes(source_address_of(client_key), "big") & mask).to_bytes(4, "big")
        if now < self._until.get(network, 0.0):  # packets that were on their way
            return
        if len(self._until) >= _REMEMBERED:
            self._until.clear()
        self._until[network] = until = now + REFUSED_S
        value = REFUSED_SOURCE.pack(int(until * _NS_PER_S), self._generation, 0)
        self._maps.refuse_source(REFUSED_SOURCE_KEY.pack(network, self._shard), value)


class Datagrams:
    """Both of one shard, and how many sessions of UDP it has."""

    def __init__(self, maps: LaneMaps, shared: SharedState, shard: int) -> None:
        self._counts, self._shard = shared.udp_counts, shard
        self._clients = DatagramClients(maps.datagram_clients, shard, shared.shards)
        self._refused = RefusedSources(maps, shard)

    def begin(self, session: Session) -> None:
        """A session of UDP is in its table."""
        self._counts[self._shard] += 1
        self._clients.add(session.client_key)

    def end(self, session: Session) -> None:
        """It is there no more."""
        self._counts[self._shard] -= 1
        self._clients.discard(session.client_key)

    def refuse(self, client_key: bytes, tunables: LiveTunables, now: float) -> None:
        """This client was refused a session because its network has all it may have. While the kernel is to drop strays, it does
        so with the next ones of that network."""
        if tunables.strays_in_kernel:
            self._refused.refuse(client_key, tunables.source_prefix_bits, now)

    def read_tunables(self, generation: int) -> None:
        """Tunables have changed; see `RefusedSources`."""
        self._refused.read_tunables(generation)
