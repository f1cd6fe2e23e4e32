"""model/blake2s.py against hashlib: a hash that is finished from the state behind its key is the hash."""

from hashlib import blake2s

from hypothesis import given
from hypothesis import strategies as st

from appliance.model.blake2s import BLOCK_BYTES, compressed, state_after_key, state_for
from appliance.model.syn_cookie import DIGEST_BYTES, MESSAGE_BYTES, epoch_of, key_of, key_state


@given(st.binary(min_size=1, max_size=32), st.binary(min_size=1, max_size=BLOCK_BYTES), st.integers(1, 32))
def test_the_state_behind_the_key_finishes_to_the_hash(key: bytes, message: bytes, size: int) -> None:
    block, total = message.ljust(BLOCK_BYTES, b"\0"), BLOCK_BYTES + len(message)
    state = compressed(state_after_key(key, size), block, total, is_last=True)
    finished = b"".join(word.to_bytes(4, "little") for word in state)[:size]
    assert finished == blake2s(message, key=key, digest_size=size).digest()


@given(st.binary(max_size=8), st.binary(min_size=1, max_size=BLOCK_BYTES), st.integers(1, 32))
def test_the_state_for_a_purpose_finishes_to_the_hash(purpose: bytes, message: bytes, size: int) -> None:
    state = compressed(state_for(purpose, size), message.ljust(BLOCK_BYTES, b"\0"), len(message), is_last=True)
    finished = b"".join(word.to_bytes(4, "little") for word in state)[:size]
    assert finished == blake2s(message, person=purpose, digest_size=size).digest()


def test_the_state_of_an_epoch_is_that_of_its_key() -> None:
    secret, epoch = bytes(range(16)), 1 << 33
    message = bytes(range(MESSAGE_BYTES))
    state = compressed(key_state(secret, epoch), message.ljust(BLOCK_BYTES, b"\0"), BLOCK_BYTES + MESSAGE_BYTES, is_last=True)
    finished = b"".join(word.to_bytes(4, "little") for word in state)[:DIGEST_BYTES]
    assert finished == blake2s(message, key=key_of(secret, epoch), digest_size=DIGEST_BYTES).digest()
    assert key_of(secret, epoch) == blake2s(epoch.to_bytes(8, "big"), key=secret).digest()


def test_an_epoch_is_an_hour_of_the_monotonic_clock() -> None:
    assert [epoch_of(now) for now in (0.0, 3599.9, 3600.0, 7200.5)] == [0, 0, 1, 2]
