"""Fields of plain data that other programs read: name and `struct` code of each, in their order."""

from collections.abc import Sequence
from struct import Struct


def offsets(fields: Sequence[tuple[str, str]]) -> dict[str, int]:
    """By name: where each of these fields begins, in bytes."""
    return {name: Struct("<" + "".join(code for _, code in fields[:place])).size for place, (name, _) in enumerate(fields)}
