"""Which shard owns which packet. The ruleset renderer and the local-port pools both read one shard table, and nothing else.

Every packet falls into one of 256 slots, and a shard table says which shard owns each slot:

- client to VIP: the slot is an nft `jhash` of the client's address and port, with a seed of the gateway's own, modulo 256;
- real server to local address: the slot is the low 8 bits of the local port.

A shard hands out only local ports in slots of its own, so both directions of a session reach one shard without any shared state.

The number of slots is fixed. When the number of shards changes, `rebalanced` gives some slots to other shards; sessions in all
other slots keep their shard.
"""

from array import array
from hashlib import blake2s
from itertools import chain
from typing import TypeAlias

MAX_SHARDS = 64

SLOTS = 256
"""A power of two, so that a bit mask of the local port gives the slot."""

SLOT_MASK = SLOTS - 1
"""The bits of a local port that are its slot."""

HASH_SEED = 0x1F2E3D4C
"""Seed of the nft `jhash` in rules that are only shown, and in benchmarks. Who knows the seed can aim packets at one shard, so a
gateway has its own (`hash_seed`). All rules that must agree have to use the same one."""

ShardTable: TypeAlias = bytes
"""The shard of each slot: SLOTS bytes, each the number of a shard. Every shard from 0 up to the highest owns at least one."""


def hash_seed(secret: str) -> int:
    """The seed of a gateway with this secret (hexadecimal): 1..0xFFFFFFFF. It is the same from run to run, so that a client's
    packets go on coming to the same slot."""
    digest = blake2s(b"client to slot", key=bytes.fromhex(secret), digest_size=4).digest()
    return int.from_bytes(digest, "big") or HASH_SEED


def shard_table(shards: int) -> ShardTable:
    """The table that a gateway with this number of shards (1..MAX_SHARDS) starts with. Raises ValueError out of that range.

    Neighbouring slots belong to different shards, so that a small range of local ports has ports of all shards. The numbers of
    slots of two shards differ by at most 1.
    """
    _check_shards(shards)
    return bytes(slot % shards for slot in range(SLOTS))


def rebalanced(table: ShardTable, shards: int) -> ShardTable:
    """The table for another number of shards (1..MAX_SHARDS), made from `table`. Raises ValueError out of that range.

    The numbers of slots of two shards differ by at most 1, and no balanced table differs from `table` in fewer slots. A shard
    gives up slots only when it has more than its share or when its number is `shards` or above. The slots it gives up are spread
    evenly over those it had: twice the shards of `shard_table(n)` are `shard_table(2 * n)`.
    """
    _check_shards(shards)
    slots_of = [[slot for slot in range(SLOTS) if table[slot] == shard] for shard in range(max(shards, shard_count(table)))]
    shares = _shares([len(slots) for slots in slots_of], shards)
    given_up = sorted(chain(*(_spread(slots, len(slots) - share) for slots, share in zip(slots_of, shares, strict=True))))
    missing = [share - len(slots) for slots, share in zip(slots_of, shares, strict=True)]
    takers = (shard for turn in range(max(missing)) for shard in range(shards) if missing[shard] > turn)
    changed = bytearray(table)
    for slot, shard in zip(given_up, takers, strict=True):
        changed[slot] = shard
    return bytes(changed)


def _shares(owned: list[int], shards: int) -> list[int]:
    """How many slots each shard is to have. The shards that own most get the larger share, so that few slots move."""
    smaller, larger_shares = divmod(SLOTS, shards)
    most_first = sorted(range(shards), key=lambda shard: -owned[shard])
    shares = [0] * len(owned)
    for place, shard in enumerate(most_first):
        shares[shard] = smaller + (place < larger_shares)
    return shares


def _spread(slots: list[int], count: int) -> list[int]:
    """`count` of these slots, at even distances; none when `count` is negative."""
    total = len(slots)
    return [slot for place, slot in enumerate(slots) if (place + 1) * count // total > place * count // total]


def shard_count(table: ShardTable) -> int:
    """The number of shards of a table."""
    return max(table) + 1


def shard_of_local_port(table: ShardTable, port: int) -> int:
    """The shard that gets the packets to a local port."""
    return table[port & SLOT_MASK]


def ports_of_shard(table: ShardTable, shard: int, lport_min: int, lport_max: int) -> "array[int]":
    """The local ports within lport_min..lport_max (inclusive) that `shard` may hand out, ascending."""
    return array("H", (port for port in range(lport_min, lport_max + 1) if table[port & SLOT_MASK] == shard))


def port_counts(table: ShardTable, lport_min: int, lport_max: int) -> list[int]:
    """How many local ports within lport_min..lport_max (inclusive) each shard may hand out; as many as `ports_of_shard` has."""
    counts = [0] * shard_count(table)
    for slot, shard in enumerate(table):
        counts[shard] += (lport_max - slot) // SLOTS - (lport_min - 1 - slot) // SLOTS
    return counts


def shards_without_ports(table: ShardTable, lport_min: int, lport_max: int) -> list[int]:
    """The shards that own no local port within lport_min..lport_max (inclusive), ascending; none when it has SLOTS ports."""
    one_of_each_slot = range(lport_min, min(lport_max, lport_min + SLOT_MASK) + 1)
    owners = {table[port & SLOT_MASK] for port in one_of_each_slot}
    return [shard for shard in range(shard_count(table)) if shard not in owners]


def _check_shards(shards: int) -> None:
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"shards: {shards} is out of range 1..{MAX_SHARDS}")
