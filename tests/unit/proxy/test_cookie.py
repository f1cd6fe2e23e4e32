"""proxy/cookie.py: a cookie gives back what was put into it, and no other number is a cookie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.syn_cookie import MSS_TABLE, SLOT_S, SLOTS
from appliance.model.syn_offer import SynOffer
from appliance.proxy.cookie import LOOKED_BACK_S, CookieJar

KEY = bytes(range(12))
JAR = CookieJar(b"sixteen bytes .. and some more")

keys = st.binary(min_size=12, max_size=12)
numbers = st.integers(0, 2**32 - 1)
offers = st.builds(SynOffer, st.sampled_from(MSS_TABLE), st.none() | st.integers(0, 14), st.booleans())
times = st.floats(0, 1e7)


@given(keys, numbers, offers, times, st.floats(0, 3 * SLOT_S - 0.1))
def test_an_offer_comes_back_for_three_minutes_at_least(
    key: bytes, isn: int, offer: SynOffer, now: float, later_s: float
) -> None:
    cookie = JAR.bake(key, isn, offer, now)
    assert 0 <= cookie < 2**32
    assert JAR.check(key, isn, cookie, now + later_s) == offer


@given(keys, numbers, offers, times, st.floats(4 * SLOT_S, 1e6))
def test_a_cookie_is_never_valid_for_longer_than_four_minutes(
    key: bytes, isn: int, offer: SynOffer, now: float, later_s: float
) -> None:
    """One number in 2**21 is a cookie by accident; Hypothesis tries a few hundred."""
    assert JAR.check(key, isn, JAR.bake(key, isn, offer, now), now + later_s) is None


@pytest.mark.parametrize("made_s", [0.0, 59.0, 3599.0, 100_000.0])
def test_a_cookie_was_good_when_it_is_no_longer_and_for_hours(made_s: float) -> None:
    """So nobody who returned it is told that it never was one."""
    cookie = JAR.bake(KEY, 5, SynOffer(1460, 7, True), made_s)
    for later_s in range(0, LOOKED_BACK_S - 2 * SLOT_S, 17):
        is_good = JAR.check(KEY, 5, cookie, made_s + later_s) is not None
        assert JAR.was_good(KEY, 5, cookie, made_s + later_s) != is_good
    for later_s in range(LOOKED_BACK_S + SLOTS * SLOT_S, 2 * LOOKED_BACK_S, 173):
        assert not JAR.was_good(KEY, 5, cookie, made_s + later_s)


def test_a_number_that_never_was_a_cookie_was_not_good() -> None:
    cookie = JAR.bake(KEY, 5, SynOffer(1460, 7, True), 1000.0)
    assert JAR.was_good(KEY, 5, cookie, 1500.0)
    for client_key, isn, number in ((KEY, 6, cookie), (bytes(12), 5, cookie), (KEY, 5, cookie ^ 1), (KEY, 5, cookie ^ 1 << 25)):
        assert not JAR.was_good(client_key, isn, number, 1500.0)


def test_looking_back_leaves_the_keys_in_use_alone() -> None:
    jar = CookieJar(b"secret")
    turn = 3600 * 5
    old = jar.bake(KEY, 5, SynOffer(1460, 7, True), 3600.0)
    jar.bake(KEY, 6, SynOffer(1460, 7, True), turn)
    keys = dict(jar._keys)
    assert jar.was_good(KEY, 5, old, turn - 300.0)
    assert jar._keys == keys


@given(keys, numbers, offers, times, st.integers(0, 31))
def test_a_bit_flipped_anywhere_fails(key: bytes, isn: int, offer: SynOffer, now: float, bit: int) -> None:
    cookie = JAR.bake(key, isn, offer, now)
    assert JAR.check(key, isn, cookie ^ 1 << bit, now) is None


@given(keys, numbers, numbers.filter(bool), offers, times)
def test_another_initial_number_fails(key: bytes, isn: int, off: int, offer: SynOffer, now: float) -> None:
    assert JAR.check(key, (isn + off) % 2**32, JAR.bake(key, isn, offer, now), now) is None


@given(keys, st.integers(0, 95), numbers, offers, times)
def test_another_tuple_fails(key: bytes, bit: int, isn: int, offer: SynOffer, now: float) -> None:
    other = (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(12, "big")
    assert JAR.check(other, isn, JAR.bake(key, isn, offer, now), now) is None


def test_another_start_has_another_secret() -> None:
    cookie = JAR.bake(KEY, 5, SynOffer(1460, 7, True), 1000.0)
    assert CookieJar(b"another").check(KEY, 5, cookie, 1000.0) is None


@pytest.mark.parametrize("before_s", [1, 30, 59, 179])
def test_a_change_of_key_breaks_no_handshake(before_s: int) -> None:
    jar = CookieJar(b"secret")
    turn = 3600 * 5
    old = jar.bake(KEY, 5, SynOffer(1460, 7, True), turn - before_s)
    jar.bake(KEY, 6, SynOffer(1460, 7, True), turn)
    assert jar.check(KEY, 5, old, turn + 0.5) == SynOffer(1460, 7, True)
    assert len(jar._keys) <= 2


@pytest.mark.parametrize(
    ("mss", "remembered"),
    [
        (0, 64),
        (63, 64),
        (536, 536),
        (1219, 1024),
        (1220, 1220),
        (1399, 1380),
        (1400, 1400),
        (1451, 1440),
        (1460, 1460),
        (65535, 8960),
    ],
)
def test_an_mss_is_remembered_as_the_nearest_one_below(mss: int, remembered: int) -> None:
    offer = JAR.check(KEY, 5, JAR.bake(KEY, 5, SynOffer(mss, None, False), 1000.0), 1000.0)
    assert offer is not None
    assert offer.mss == remembered


def test_from_1220_to_1460_less_than_four_per_cent_are_lost() -> None:
    for mss in range(1220, 1461):
        offer = JAR.check(KEY, 5, JAR.bake(KEY, 5, SynOffer(mss, None, False), 0.0), 0.0)
        assert offer is not None
        assert mss - offer.mss <= 0.04 * mss


def test_no_scaling_is_not_a_shift_of_zero() -> None:
    none, zero = (JAR.check(KEY, 5, JAR.bake(KEY, 5, SynOffer(1460, scale, True), 0.0), 0.0) for scale in (None, 0))
    assert none == SynOffer(1460, None, True)
    assert zero == SynOffer(1460, 0, True)


def test_a_shift_above_what_is_allowed_counts_as_fourteen() -> None:
    assert JAR.check(KEY, 5, JAR.bake(KEY, 5, SynOffer(1460, 255, True), 0.0), 0.0) == SynOffer(1460, 14, True)


def test_guesses_pass_about_once_in_two_million() -> None:
    """More than three right guesses of 200,000 would be a weakness: by chance that happens less than once in 100,000 runs."""
    passed = sum(JAR.check(KEY, 5, guess * 21_473 % 2**32, 1000.0) is not None for guess in range(200_000))
    assert passed <= 3
