"""What a map of the lane has for services, as far as the director has put it there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class OfServices(Generic[ValueT]):
    """The values of one map, by its keys. Nobody else writes it."""

    def __init__(self) -> None:
        self._there: dict[bytes, ValueT | None] = {}
        """None for what may be there or not: the kernel has refused a call about it, maybe half way."""

    def are(self, wanted: Mapping[bytes, ValueT]) -> bool:
        """Whether the map holds just that."""
        return self._there == wanted

    def bring_to(
        self,
        wanted: Mapping[bytes, ValueT],
        remove: Callable[[Sequence[bytes]], None],
        put: Callable[[Mapping[bytes, ValueT]], None],
    ) -> None:
        """Have the map hold what is wanted: first `remove` what is not, then `put` what is new or another. What either of them
        raises is passed on; what it was about is then removed, or put, the next time. So `remove` may get what is not there."""
        gone = [key for key in self._there if key not in wanted]
        self._there |= dict.fromkeys(gone)
        remove(gone)
        self._there = {key: value for key, value in self._there.items() if key in wanted}
        others = {key: value for key, value in wanted.items() if self._there.get(key) != value}
        self._there |= dict.fromkeys(others)
        put(others)
        self._there = dict(wanted)
