"""BLAKE2s up to the middle of a hash: its state after a key, and before a message without one. RFC 7693.

`hashlib` gives away whole hashes alone. Who has the state behind the key can finish hashes with that key, and does not have the
key itself.
"""

from struct import Struct

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
"""RFC 7693, 2.6."""

SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
"""Which words of a block each round takes, in which order (RFC 7693, 2.7)."""

_COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)

BLOCK_BYTES = 64
_BLOCK = Struct("<16I")
_MASK = 0xFFFFFFFF
_SEQUENTIAL = 0x01010000
"""Of the parameter block: one thread, no tree."""


def state_after_key(key: bytes, digest_bytes: int) -> tuple[int, ...]:
    """The eight words of the state once the block with the key (1..32 bytes) is in, for hashes of so many bytes (1..32)."""
    start = (_IV[0] ^ _SEQUENTIAL ^ len(key) << 8 ^ digest_bytes, *_IV[1:])
    return compressed(start, key.ljust(BLOCK_BYTES, b"\0"), BLOCK_BYTES, is_last=False)


def state_for(purpose: bytes, digest_bytes: int) -> tuple[int, ...]:
    """The eight words of the state before the first block of a hash without a key, of so many bytes (1..32), that is made for a
    purpose: its `person`, up to 8 bytes."""
    low, high = Struct("<II").unpack(purpose.ljust(8, b"\0"))
    parameters = (_SEQUENTIAL ^ digest_bytes, 0, 0, 0, 0, 0, low, high)
    return tuple(word ^ parameter for word, parameter in zip(_IV, parameters, strict=True))


def compressed(state: tuple[int, ...], block: bytes, total: int, *, is_last: bool) -> tuple[int, ...]:
    """The state after one more block; `total` is how many bytes were hashed with it, the padding of the last one left out."""
    words = _BLOCK.unpack(block)
    v = [*state, *_IV]
    v[12] ^= total & _MASK
    v[13] ^= total >> 32
    v[14] ^= _MASK * is_last
    for order in SIGMA:
        for place, at in enumerate(_COLUMNS_AND_DIAGONALS):
            _mix(v, at, words[order[2 * place]], words[order[2 * place + 1]])
    return tuple(word ^ v[place] ^ v[place + 8] for place, word in enumerate(state))


def _mix(v: list[int], at: tuple[int, int, int, int], first: int, second: int) -> None:
    a, b, c, d = at
    for word, by_d, by_b in ((first, 16, 12), (second, 8, 7)):
        v[a] = (v[a] + v[b] + word) & _MASK
        v[d] = _rotated(v[d] ^ v[a], by_d)
        v[c] = (v[c] + v[d]) & _MASK
        v[b] = _rotated(v[b] ^ v[c], by_b)


def _rotated(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & _MASK
