"""TCP sequence numbers: arithmetic and order modulo 2**32 (RFC 9293, 3.4)."""

MASK = 0xFFFF_FFFF
HALF = 0x8000_0000


def add(seq: int, amount: int) -> int:
    """`seq` moved on by `amount` (negative: back)."""
    return (seq + amount) & MASK


def is_before(left: int, right: int) -> bool:
    """Whether `left` comes before `right` on the circle. Of two numbers exactly half a circle apart, each is before the other."""
    return (left - right) & MASK >= HALF


def latest(left: int, right: int) -> int:
    """The later of two numbers on the circle."""
    return (right if is_before(left & MASK, right & MASK) else left) & MASK
