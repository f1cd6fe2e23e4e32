"""When the API is asked again, so that what one `top` costs the gateway is bounded whatever its size. Pure.

The time that an answer costs the director grows with its length; counting the clients of all sessions costs time of the workers
too, and its answer is short, so that is measured by how long it took.
"""

INTERVALS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""What a user may choose from."""

BYTES_PER_S = 1 << 20
"""After a round of answers that are longer than this together, the next one begins so much later."""

COUNT_PAUSE_S = 10.0
COUNT_SHARE = 1 / 50
"""The share of the time in which sessions are counted for the clients, and the least time between two counts."""


class Pace:
    """The times of the next round and of the next count."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` is how often a round begins when the answers are short."""
        self.interval_s = interval_s
        self._began_s = -INTERVALS_S[-1]
        self._round_bytes = 0
        self._count_at_s = 0.0

    def begin(self, now_s: float) -> None:
        """A round of questions begins."""
        self._began_s, self._round_bytes = now_s, 0

    def answered(self, length_bytes: int) -> None:
        """An answer of the round has come."""
        self._round_bytes += length_bytes

    def next_round_s(self) -> float:
        """The moment at which the next round may begin."""
        return self._began_s + self.pause_s

    @property
    def pause_s(self) -> float:
        """From the beginning of a round to that of the next."""
        return max(self.interval_s, self._round_bytes / BYTES_PER_S)

    def may_count(self, now_s: float) -> bool:
        """Whether the sessions of the clients may be counted now."""
        return now_s >= self._count_at_s

    def counted(self, began_s: float, ended_s: float) -> None:
        """They were counted, or that was refused."""
        self._count_at_s = ended_s + max(COUNT_PAUSE_S, (ended_s - began_s) / COUNT_SHARE)

    def change(self, steps: int) -> None:
        """Take an interval that is so many steps longer, or shorter when `steps` is negative."""
        nearest = min(range(len(INTERVALS_S)), key=lambda place: abs(INTERVALS_S[place] - self.interval_s))
        self.interval_s = INTERVALS_S[max(0, min(len(INTERVALS_S) - 1, nearest + steps))]
