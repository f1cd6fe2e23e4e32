"""The hash of the schedulers that choose by the client's address: the same in every process, on every gateway, for ever.

Its key is fixed and public, because gateways that share nothing but their configuration have to agree. So whoever has many
addresses can find out which of them meet at one real server, and send from those. What bounds that: he needs addresses that
answer (a session is opened when the handshake is complete, with SYNPROXY at the latest), the tunable `source_conn_max` limits
what each network may have, and the least loaded schedulers do not look at addresses at all.
"""

from hashlib import blake2s

from appliance.model.blake2s import state_for

_BITS = 64
_MASK = (1 << _BITS) - 1


def fixed_hash(data: bytes, purpose: bytes) -> int:
    """64 bits of `data`. Each `purpose`, at most 8 bytes, has numbers of its own."""
    return int.from_bytes(blake2s(data, digest_size=_BITS // 8, person=purpose).digest(), "big")


def hash_state(purpose: bytes) -> tuple[int, ...]:
    """The state of `fixed_hash` for a purpose before the data: who has it can make the hash without the rest."""
    return state_for(purpose, _BITS // 8)


def mixed(number: int) -> int:
    """Another number of 64 bits for each number of 64 bits, as if by chance (the finalizer of SplitMix64)."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
