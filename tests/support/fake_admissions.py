"""The kernel's maps of prepared admissions, in memory."""

from collections.abc import Iterable, Mapping, Sequence

from appliance.edge.errors import EdgeError
from appliance.ipc.ring_figures import RingFigures


class FakeAdmissions:
    """As `edge.lane_admissions.LaneAdmissions`, in memory."""

    def __init__(self) -> None:
        self.there: dict[bytes, int] = {}
        self.for_proven: dict[bytes, int] = {}
        self.steering: tuple[int, bytes] | None = None
        self.refuses = False
        self.closed: list[int] = []

    def put_steering(self, hash_seed: int, table: bytes) -> None:
        """Notes them."""
        self.steering = hash_seed, table

    def put(self, rings: Mapping[bytes, int]) -> None:
        """Adds these."""
        if self.refuses:
            raise EdgeError("cannot write: no")
        assert self.steering is not None, "nobody is let in before it is known whose he is"
        self.there |= rings

    def remove(self, keys: Sequence[bytes]) -> None:
        """Takes these out."""
        for key in keys:
            del self.there[key]

    def put_for_proven(self, rings: Mapping[bytes, int]) -> None:
        """Adds these."""
        if self.refuses:
            raise EdgeError("cannot write: no")
        assert self.steering is not None, "nobody is let in before it is known whose he is"
        self.for_proven |= rings

    def remove_for_proven(self, keys: Sequence[bytes]) -> None:
        """Takes these out."""
        for key in keys:
            del self.for_proven[key]

    def close(self, rings: Iterable[int]) -> None:
        """Notes which."""
        self.closed += rings

    def figures(self, rings: Iterable[int]) -> list[RingFigures]:
        """A ticket is ready in each."""
        return [RingFigures(True, 1, "", 0, 0, 0, 0) for _ in rings]

    def ready(self) -> int:
        """None is."""
        return 0

    def release(self) -> None:
        """Nothing is held."""
