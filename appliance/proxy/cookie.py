"""SYN cookies: what has to be remembered of a client's SYN, in the sequence number of the answer. LVS behaviour 4.1, RFC 4987.

    31..30  time slot modulo 4, in the clear
    29..21  what the client offered: MSS index (4 bits), window scale (4), SACK permitted (1); masked
    20..0   authentication over the 4-tuple, the client's exact initial number, the slot and the offer

One keyed hash per cookie, made or checked. It gives a mask for the offer, and two numbers a and b that are good for this tuple,
initial number and slot alone; the authentication is a + b * offer. With b odd, no change of the offer can leave that as it is.
A number drawn at random passes once in 2**21; the hash is over the slot itself, not its two bits, so an old cookie does not
pass as a new one.
"""

from bisect import bisect_right
from hashlib import blake2s
from struct import Struct

from appliance.model.syn_cookie import (
    AUTH_BITS,
    DIGEST_BYTES,
    MOST_SCALE,
    MSS_TABLE,
    NO_SCALE,
    OFFER_BITS,
    SLOT_S,
    SLOTS,
    SLOTS_PER_KEY,
    key_of,
)
from appliance.model.syn_offer import SynOffer
from appliance.wire.flow import KEY_FORMAT
from appliance.wire.seq import MASK as SEQ_MASK

COOKIE_LIFE_S = SLOT_S * SLOTS
"""No cookie is good for longer than this."""

LOOKED_BACK_S = 4 * 3600
"""How far back a cookie that is too old is still known for one: further than the two hours after which clients send their first
keepalive."""

_OFFER_MASK = (1 << OFFER_BITS) - 1
_AUTH_MASK = (1 << AUTH_BITS) - 1
_SLOT_SHIFT = OFFER_BITS + AUTH_BITS

_MESSAGE = Struct(f"!{KEY_FORMAT}IQ")
_DIGEST = Struct("!HII")


class CookieJar:
    """Makes and checks cookies. `secret` is 16..32 random bytes, new with each start and the same in all shards."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[int, bytes] = {}

    def bake(self, client_key: bytes, client_isn: int, offer: SynOffer, now: float) -> int:
        """The sequence number of the SYN-ACK for a client's SYN of the flow `client_key`, at `now` seconds."""
        slot = int(now) // SLOT_S
        mask, a, b = _numbers(client_key, client_isn, slot, self._key(slot // SLOTS_PER_KEY))
        code = _encode(offer)
        return (slot % SLOTS) << _SLOT_SHIFT | (code ^ mask) << AUTH_BITS | (a + b * code) & _AUTH_MASK

    def check(self, client_key: bytes, client_isn: int, cookie: int, now: float) -> SynOffer | None:
        """What the client offered, when this cookie was made for it and is not too old; else None."""
        slot = _newest_slot(cookie, now)
        return None if slot < 0 else self._offer_of(client_key, client_isn, cookie, slot, self._key(slot // SLOTS_PER_KEY))

    def was_good(self, client_key: bytes, client_isn: int, cookie: int, now: float) -> bool:
        """Whether this cookie was made for it within the last LOOKED_BACK_S, but is too old for `check`.

        That takes up to two hashes for each time at which it can have been made, so callers have to limit how often they ask.
        """
        newest = _newest_slot(cookie, now)
        slots = range(newest - SLOTS, max(newest - LOOKED_BACK_S // SLOT_S, 0) - 1, -SLOTS)
        return any(
            self._offer_of(client_key, client_isn, cookie, slot, key_of(self._secret, slot // SLOTS_PER_KEY)) is not None
            for slot in slots
        )

    def _offer_of(self, client_key: bytes, client_isn: int, cookie: int, slot: int, key: bytes) -> SynOffer | None:
        """What the cookie remembers, when it was made in this slot."""
        mask, a, b = _numbers(client_key, client_isn, slot, key)
        code = (cookie >> AUTH_BITS) & _OFFER_MASK ^ mask
        return _decode(code) if (a + b * code) & _AUTH_MASK == cookie & _AUTH_MASK else None

    def _key(self, epoch: int) -> bytes:
        key = self._keys.get(epoch)
        if key is None:
            key = key_of(self._secret, epoch)
            # The key before this one is still needed for cookies that are on their way.
            self._keys = {known: value for known, value in self._keys.items() if known == epoch - 1} | {epoch: key}
        return key


def _newest_slot(cookie: int, now: float) -> int:
    """The latest time slot in which a cookie with this number can have been made; negative when there was none."""
    slot_now = int(now) // SLOT_S
    return slot_now - (slot_now - (cookie >> _SLOT_SHIFT)) % SLOTS


def _numbers(client_key: bytes, client_isn: int, slot: int, key: bytes) -> tuple[int, int, int]:
    message = _MESSAGE.pack(client_key, client_isn & SEQ_MASK, slot)
    mask, a, b = _DIGEST.unpack(blake2s(message, digest_size=DIGEST_BYTES, key=key).digest())
    return mask & _OFFER_MASK, a, b | 1


def _encode(offer: SynOffer) -> int:
    index = max(0, bisect_right(MSS_TABLE, offer.mss) - 1)
    scale = NO_SCALE if offer.scale is None else min(offer.scale, MOST_SCALE)
    return index << 5 | scale << 1 | offer.sack


def _decode(code: int) -> SynOffer:
    scale = code >> 1 & 0xF
    return SynOffer(MSS_TABLE[code >> 5], None if scale == NO_SCALE else scale, bool(code & 1))
