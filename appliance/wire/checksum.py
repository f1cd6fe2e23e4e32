"""Internet checksums: whole (RFC 1071) and by difference (RFC 1624).

Ones-complement sums are sums modulo 65535, and 65536 is 1 modulo 65535, so the sum of a buffer's 16-bit words is simply the
buffer read as one big integer, modulo 65535. That is both the shortest and the fastest form in Python.

A checksum moves by difference as ``new = (old + delta) % 65535`` where `delta` is the sum of the words that went away minus
the sum of the words that came. The result is the canonical form, 0..65534: a right checksum stays right, a wrong one stays
wrong by the same amount, so nothing is laundered.
"""

MODULUS = 65535


def word_sum(data: bytes) -> int:
    """Sum of the big-endian 16-bit words of `data` modulo 65535; an odd last byte counts as if a zero followed it."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % MODULUS


def checksum(data: bytes, initial: int = 0) -> int:
    """The Internet checksum of `data`, with `initial` (a sum of words, for instance a pseudo header's) added.

    Data whose checksum field is right gives 0. Raises nothing; all-zero data gives 65535, as RFC 1071 has it.
    """
    total = initial + word_sum(data)
    if total == 0 and not any(data):
        return MODULUS
    return -total % MODULUS


def delta(old: bytes, new: bytes) -> int:
    """What a checksum moves by when the bytes `old` of its buffer become `new`. Both have the same, even length."""
    return (int.from_bytes(old, "big") - int.from_bytes(new, "big")) % MODULUS


def pseudo_header_sum(addresses: bytes, protocol: int, length: int) -> int:
    """Word sum of the pseudo header for a segment of `length` bytes (RFC 9293, 3.1); `addresses` are the IP header's two."""
    return (word_sum(addresses) + protocol + length) % MODULUS
