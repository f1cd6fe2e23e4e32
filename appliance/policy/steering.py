"""Which shard owns which packet. The ruleset renderer and the local-port pools both read this file, and only this file.

Client to VIP: a hash of the client's address and port. Real server to local address: the low bits of the local port. A shard
hands out only local ports whose low bits steer back to it, so replies come home without any shared table.
"""

from array import array

MAX_SHARDS = 64

_CLASSES_PER_SHARD = 8  # for shard counts that are no power of two: keeps the shares within one part in eight

HASH_SEED = 0x1F2E3D4C
"""Seed of the nft `jhash`; any constant will do, but every rule that must agree has to use the same one."""


def port_classes(shards: int) -> int:
    """How many classes the low bits of a local port are split into: a power of two, at least `shards`.

    Raises ValueError when `shards` is not within 1..MAX_SHARDS.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"shards: {shards} is out of range 1..{MAX_SHARDS}")
    if shards & (shards - 1) == 0:
        return shards
    return 1 << (shards * _CLASSES_PER_SHARD - 1).bit_length()


def port_mask(shards: int) -> int:
    """The bits of a local port that choose the shard."""
    return port_classes(shards) - 1


def shard_of_class(port_class: int, shards: int) -> int:
    """The shard that owns a port class."""
    return port_class % shards


def ports_of_shard(shard: int, shards: int, lport_min: int, lport_max: int) -> "array[int]":
    """The local ports within lport_min..lport_max (inclusive) that `shard` may hand out, ascending."""
    mask = port_mask(shards)
    owned = [shard_of_class(port_class, shards) == shard for port_class in range(mask + 1)]
    return array("H", (port for port in range(lport_min, lport_max + 1) if owned[port & mask]))
