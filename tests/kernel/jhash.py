"""The hash by which nftables finds the slot of a client: Bob Jenkins' lookup3, as the kernel has it in `linux/jhash.h`."""

_MASK = (1 << 32) - 1


def _turned(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK


def slot_of_client(client: bytes, seed: int) -> int:
    """The slot, modulo 256, of a client's address and port, as they stand in a packet. Each fills four bytes."""
    address, port = int.from_bytes(client[:4], "little"), int.from_bytes(client[4:], "little")
    start = 0xDEADBEEF + 8 + seed
    a, b, c = (start + address) & _MASK, (start + port) & _MASK, start & _MASK
    c = ((c ^ b) - _turned(b, 14)) & _MASK
    a = ((a ^ c) - _turned(c, 11)) & _MASK
    b = ((b ^ a) - _turned(a, 25)) & _MASK
    c = ((c ^ b) - _turned(b, 16)) & _MASK
    a = ((a ^ c) - _turned(c, 4)) & _MASK
    b = ((b ^ a) - _turned(a, 14)) & _MASK
    c = ((c ^ b) - _turned(b, 24)) & _MASK
    return c * 256 >> 32
