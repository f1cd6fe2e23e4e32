"""rtnetlink.py on a kernel that the test plays."""

import errno
import struct

import pytest

from appliance.edge import rtnetlink
from appliance.edge.errors import EdgeError
from tests.support.rtnetlink_kernel import DONE, INTERRUPTED, code, play, told


def test_answers_that_come_in_another_order_belong_to_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[bytes] = []

    def answer(_: int, number: int, body: bytes) -> list[bytes]:
        waiting.insert(0, told(24, number, body * 2))
        return waiting if number == 2 else []

    play(monkeypatch, answer)
    assert rtnetlink.exchange(26, 1, [b"0000", b"1111", b"2222"]) == [b"00000000", b"11111111", b"22222222"]


def test_a_kernel_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda *_: [])
    with pytest.raises(EdgeError, match="rtnetlink"):
        rtnetlink.exchange(26, 1, [b"0000"])


@pytest.mark.parametrize("changes", [1, 4])
def test_a_table_that_changes_while_it_is_read_is_read_again(changes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: int, number: int, __: bytes) -> list[bytes]:
        flags = INTERRUPTED if number < changes else 0
        return [told(20, number, b"old." if flags else b"new.", flags) + told(20, number, b"more"), told(DONE, number, bytes(4))]

    play(monkeypatch, answer)
    assert rtnetlink.listed(22, bytes(8)) == [b"new.", b"more"]


def test_a_table_that_never_stays_as_it_is_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [told(20, number, b"some", INTERRUPTED), told(DONE, number, bytes(4), INTERRUPTED)])
    with pytest.raises(EdgeError, match="has changed whenever it was read"):
        rtnetlink.listed(22, bytes(8))


def test_a_table_that_is_not_listed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [code(number, errno.EPERM)])
    with pytest.raises(EdgeError, match="Operation not permitted"):
        rtnetlink.listed(22, bytes(8))


@pytest.mark.parametrize("damaged", [b"\1", bytes(20), struct.pack("=IHHII", 3, 20, 0, 0, 0)])
def test_a_message_that_makes_no_sense_ends_nothing(damaged: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [damaged, told(DONE, number, bytes(4))])
    assert rtnetlink.listed(22, bytes(8)) == []


@pytest.mark.parametrize("damaged", [struct.pack("=HH", 0, 1), struct.pack("=HH", 3, 1), b"\1\0\2"])
def test_an_attribute_that_makes_no_sense_is_the_last_one(damaged: bytes) -> None:
    good = rtnetlink.attribute(2, b"abc")
    assert len(good) % 4 == 0
    assert list(rtnetlink.attributes(b"head" + good + damaged, 4)) == [(2, b"abc")]
