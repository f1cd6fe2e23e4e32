"""SYN cookies: the numbers that all who make or check them have to share. `proxy.cookie` says what a cookie is.

Two make them: Python, and the program in the kernel, which is given these numbers by `ipc.lane_header`.
"""

from hashlib import blake2s

from appliance.model.blake2s import state_after_key

SLOT_S = 60
SLOTS = 4
"""A cookie is good in the slot it was made in and in the three that follow: three to four minutes."""

MSS_TABLE = (64, 256, 536, 1024, 1220, 1240, 1280, 1320, 1360, 1380, 1400, 1420, 1440, 1452, 1460, 8960)
"""The largest entry that is not above the client's MSS is remembered. Dense where paths are: 1220 (IPv6 minimum) to 1460."""

DEFAULT_MSS = 536
"""RFC 9293, 3.7.1: what a client that names no MSS can take."""

NO_SCALE = 15
"""The code of "no window scaling"; a shift of 0 is an offer as any other. RFC 7323 allows shifts up to 14."""

MOST_SCALE = 14

ADVERTISED_SCALE = 7
"""The window shift that is offered to clients that scale. Windows of the real server are converted to it afterwards."""

SLOTS_PER_KEY = 60
"""A key is used for an hour. A cookie is checked with the key of its own slot, so a change of key breaks no handshake."""

OFFER_BITS, AUTH_BITS = 9, 21

MESSAGE_BYTES, DIGEST_BYTES = 24, 10
"""Of the hash: over the flow, the client's initial number and the slot; and how much of it there is."""


def epoch_of(now: float) -> int:
    """The number of the key in use at `now`, in seconds of the monotonic clock."""
    return int(now) // SLOT_S // SLOTS_PER_KEY


def key_of(secret: bytes, epoch: int) -> bytes:
    """The key of an epoch. `secret` is 16..32 random bytes."""
    return blake2s(epoch.to_bytes(8, "big"), key=secret).digest()


def key_state(secret: bytes, epoch: int) -> tuple[int, ...]:
    """The key of an epoch as the kernel is given it: eight words of 32 bits, the state of the hash behind the key."""
    return state_after_key(key_of(secret, epoch), DIGEST_BYTES)
