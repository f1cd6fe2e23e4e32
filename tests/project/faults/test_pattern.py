"""pattern.py: what is lost, doubled or mixed up in a stream is noticed."""

import pytest

from faults.pattern import LONGEST_BLOCK_BYTES, Checked, Hello, Pattern, PatternError, Welcome, answers_to

_SEED = 7


def stream(pattern: Pattern, length: int, start: int = 0) -> bytes:
    """Bytes of a pattern, however many."""
    places = range(start, start + length, LONGEST_BLOCK_BYTES)
    return b"".join(pattern.at(place, min(LONGEST_BLOCK_BYTES, start + length - place)) for place in places)


@pytest.mark.parametrize("pieces", [[1], [100_000], [1, 16_380, 16_381, 16_382, 3, 60_000]])
def test_the_right_bytes_are_taken_however_they_are_cut(pieces: list[int]) -> None:
    checked, whole, place = Checked(Pattern(_SEED)), stream(Pattern(_SEED), sum(pieces)), 0
    for length in pieces:
        checked.take(whole[place : place + length])
        place += length
    assert checked.right_bytes == sum(pieces)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda data: data[:5_000] + data[6_448:], id="a segment lost"),
        pytest.param(lambda data: data[:5_000] + data[3_552:], id="a segment doubled"),
        pytest.param(lambda data: data[1_448:2_896] + data[:1_448] + data[2_896:], id="two segments exchanged"),
        pytest.param(lambda data: data[:9_999] + bytes([data[9_999] ^ 1]) + data[10_000:], id="a bit turned"),
        pytest.param(lambda _: stream(Pattern(_SEED + 1), 50_000), id="the bytes of another stream"),
        pytest.param(lambda _: stream(answers_to(_SEED), 50_000), id="the bytes of the other direction"),
    ],
)
def test_wrong_bytes_are_noticed(wrong: "object") -> None:
    assert callable(wrong)
    with pytest.raises(PatternError, match="wrong bytes behind the first"):
        Checked(Pattern(_SEED)).take(wrong(stream(Pattern(_SEED), 50_000)))


def test_greetings_come_back_as_they_were() -> None:
    assert Hello.decode(Hello(2_000, 1 << 63).encode()) == Hello(2_000, 1 << 63)
    assert Welcome.decode(Welcome("rs1", 5_000).encode()) == Welcome("rs1", 5_000)


@pytest.mark.parametrize("data", [bytes(16), Hello(0, 1).encode(), Hello(LONGEST_BLOCK_BYTES + 1, 1).encode()])
def test_what_is_no_greeting_is_refused(data: bytes) -> None:
    with pytest.raises(PatternError):
        Hello.decode(data)


def test_the_name_of_a_server_is_text() -> None:
    with pytest.raises(PatternError):
        Welcome.decode(b"\xff" * 10)
