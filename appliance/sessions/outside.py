"""The sessions of a shard that might be in the lane and are not, because there was no room: the kernel is told that there are.

While there are, it judges no packet of no session: what looks like one may be of them (`ipc.lane_layout`, OUTSIDE).
"""

from appliance.state.session import Session


class Outside:
    """Those of one shard, of TCP alone."""

    def __init__(self, cells: memoryview, shard: int) -> None:
        """`cells` has a byte for each shard; it is empty where there is no lane."""
        self._cell = cells[shard : shard + 1]
        self._sessions = set[Session]()
        self._tell()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """There is no room for a session."""
        if session.service.protocol == "tcp":
            self._sessions.add(session)
            self._tell()

    def discard(self, session: Session) -> None:
        """A session is in the lane, or over; whether or not it was outside."""
        self._sessions.discard(session)
        self._tell()

    def _tell(self) -> None:
        if self._cell:
            self._cell[0] = bool(self._sessions)
