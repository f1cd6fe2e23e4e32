"""TCP options: walk through them, blank them, change them (RFC 9293, 3.1; SACK is RFC 2018; LVS behaviour 3.10).

Options are the bytes between the fixed header and the payload, a multiple of four. What the walk does not reach (behind an
end-of-options byte, or behind an option whose length cannot be) no receiver reaches either, so it is left alone.
"""

from collections.abc import Iterator

from appliance.wire.seq import MASK as SEQ_MASK

END = 0
NOP = 1
MSS = 2
WINDOW_SCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMP = 8

MOST_BYTES = 40
"""A data offset of 15 words less the fixed header."""

_NOP_BYTE = b"\x01"
_END_BYTE = b"\x00"
_NO_TIMESTAMP = 10 * _NOP_BYTE
_SACK_BLOCK_BYTES = 8
_HEAD_BYTES = 2
"""Kind and length of an option."""
_MSS_BYTES = 4
_MSS_HEAD = bytes((MSS, _MSS_BYTES))
_USUAL_SYN_HEADS = bytes((SACK_PERMITTED, 2, TIMESTAMP, 10))
_BEFORE_USUAL_TIMESTAMP, _BEHIND_USUAL_TIMESTAMP = 6, 16
"""In a SYN of nearly all hosts: MSS, SACK permitted, timestamp, all else."""


def walk(options: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, start and length of each option, NOPs left out. Ends in front of anything that cannot be read."""
    start, end = 0, len(options)
    while start < end:
        kind = options[start]
        if kind == NOP:
            start += 1
            continue
        if kind == END or start + 1 == end:
            return
        length = options[start + 1]
        if length < 2 or start + length > end:
            return
        yield kind, start, length
        start += length


def blank(options: bytes, kind: int) -> bytes:
    """The options with every one of `kind` turned into NOPs; nothing moves."""
    if kind not in options:  # a search at C speed: nearly no packet needs the walk
        return options
    if kind == TIMESTAMP and _is_usual_syn(options) and kind not in options[_BEHIND_USUAL_TIMESTAMP:]:
        return b"".join((options[:_BEFORE_USUAL_TIMESTAMP], _NO_TIMESTAMP, options[_BEHIND_USUAL_TIMESTAMP:]))
    for found, start, length in walk(options):
        if found == kind:
            options = options[:start] + _NOP_BYTE * length + options[start + length :]
    return options


def _is_usual_syn(options: bytes) -> bool:
    has_heads = options.startswith(_MSS_HEAD) and options.startswith(_USUAL_SYN_HEADS, _MSS_BYTES)
    return has_heads and len(options) >= _BEHIND_USUAL_TIMESTAMP


def mss_of(options: bytes) -> int | None:
    """The maximum segment size in bytes (RFC 9293, 3.7.1); None when the options name none."""
    start = _mss_start(options)
    return None if start is None else int.from_bytes(options[start + 2 : start + 4], "big")


def with_mss(options: bytes, mss: int) -> bytes:
    """The options with `mss` in the place of the MSS that is there; without one, as they are."""
    start = _mss_start(options)
    return options if start is None else options[: start + 2] + mss.to_bytes(2, "big") + options[start + 4 :]


def _mss_start(options: bytes) -> int | None:
    if options.startswith(_MSS_HEAD) and len(options) >= 4:  # where nearly all hosts put it
        return 0
    return next((start for kind, start, length in walk(options) if kind == MSS and length == len(_MSS_HEAD) + 2), None)


def shift_sack(options: bytes, by: int) -> bytes:
    """The options with both edges of every SACK block moved on by `by`, modulo 2**32."""
    for kind, start, length in walk(options):
        if kind == SACK:
            whole_edges = range(start + 2, start + length - 3, 4)
            edges = b"".join(
                ((int.from_bytes(options[at : at + 4], "big") + by) & SEQ_MASK).to_bytes(4, "big") for at in whole_edges
            )
            options = options[: start + 2] + edges + options[start + 2 + len(edges) :]
    return options


def squeeze(options: bytes, room: int) -> bytes | None:
    """The options in at most `room` bytes (a multiple of four), or None when they do not fit.

    NOPs go first, they mean nothing; then whole SACK blocks, last ones first: they are advice, and RFC 2018 puts the most recent
    one in front.
    """
    kept = [options[start : start + length] for _, start, length in walk(options)]
    while (size := sum(map(len, kept))) > room:
        for index, option in enumerate(kept):
            if option[0] == SACK and len(option) >= _HEAD_BYTES + _SACK_BLOCK_BYTES:
                shorter = len(option) - _SACK_BLOCK_BYTES
                kept[index] = bytes((SACK, shorter)) + option[_HEAD_BYTES:shorter] if shorter > _HEAD_BYTES else b""
                break
        else:
            return None
        kept = [option for option in kept if option]
    return b"".join(kept) + _END_BYTE * (-size % 4)
