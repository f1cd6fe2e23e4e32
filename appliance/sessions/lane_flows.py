"""The flows of one shard's sessions in the lane: those that come, those that go, and those that are reserved.

Where admissions are prepared, the kernel opens sessions beside the shard. When a SYN has waited in the shard's queue, its client
has sent it again, and both copies may be judged at the same moment. So whoever opens a session writes the client's flow first,
and only when nobody has it: the kernel with the session's entry, and the shard with an entry that no session can have, which
stays there until the session's own comes in its place. Otherwise the client would have the numbers of one real server, and its
packets would be for another. A session for which the lane has no room has it while it is half-open: behind that, its client takes
no other real server's numbers.
"""

from appliance.ipc.lane_layout import FLOW_BYTES
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.lane_entry import flow_of_segment
from appliance.state.session import Session


class LaneFlows:
    """Those of one shard."""

    def __init__(self, maps: LaneMaps, reservation: int) -> None:
        """`reservation` is the entry that the flows it reserves lead to."""
        self._maps = maps
        self.reservation = reservation
        self.reserved: set[bytes] = set()
        """Flows of clients whose sessions are not in the kernel's table."""
        self._coming: dict[int, bytes] = {}
        """By entry: the flows of sessions that have got it, and are not in the kernel's table yet."""
        self._going: list[bytes] = []
        """The flows of sessions that have left, and are still there. Their entries have no session, so nobody is misled."""

    def come(self, entry: int, flows: bytes) -> None:
        """Both flows of a session come in with the next `publish`."""
        self._coming[entry] = flows

    def go(self, flows: bytes) -> None:
        """Flows, one behind the other, go with the next `publish`."""
        self._going.append(flows)

    def take_out(self, entry: int, flows: bytes) -> None:
        """Both flows of a session that leaves its entry go; at once when they have not come yet."""
        if self._coming.pop(entry, None) is None:
            self._going.append(flows)
        elif self.reserved:
            self.release(flows[:FLOW_BYTES])

    def publish(self) -> list[int]:
        """Let all come and go that wait for it. Returns the entries for whose flows there is no room."""
        if self._going:
            going, self._going = self._going, []
            self._maps.remove(b"".join(going))
        if not self._coming:
            return []
        coming, self._coming = self._coming, {}  # behind that: one of them may be a flow that has just gone
        refused = self._maps.insert(b"".join(coming.values()), list(coming))
        if self.reserved:
            self.reserved.difference_update([flows[:FLOW_BYTES] for flows in coming.values()])
        return refused

    def reserve(self, flow: bytes) -> bool:
        """Have nobody else open a session with this flow; False when somebody has it, or there is no room for it."""
        if not self._maps.add_flow(flow, 2 * self.reservation):
            return False
        self.reserved.add(flow)
        return True

    def release_of(self, session: Session) -> None:
        """Give up the flow of a session's client, if it is reserved."""
        self.release(flow_of_segment(session.client_key))

    def release(self, flow: bytes) -> None:
        """Give up a flow, if it is reserved."""
        if flow in self.reserved:
            self.reserved.discard(flow)
            self._maps.remove_flow(flow)
