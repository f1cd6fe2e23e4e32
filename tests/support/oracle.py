"""Slow and simple versions of what the appliance does fast, to compare with."""

from collections.abc import Hashable


def rfc1071_checksum(data: bytes) -> int:
    """The Internet checksum as in RFC 1071, 4.1: add words, fold the carries, complement."""
    total = 0
    for index in range(0, len(data) - 1, 2):
        total += data[index] << 8 | data[index + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class ListOfTimers:
    """All deadlines in one dict."""

    def __init__(self) -> None:
        self.deadlines: dict[Hashable, float] = {}

    def due(self, now: float) -> set[Hashable]:
        """Everything whose deadline is not after `now`."""
        return {timer for timer, deadline in self.deadlines.items() if deadline <= now}
