"""rtnetlink.py and addresses.py, on a kernel that the test plays and on that of this machine."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from appliance.edge import addresses, rtnetlink
from appliance.edge.errors import EdgeError

_REQUEST = struct.Struct("=IHHII")
_ERROR, _DONE, _INTERRUPTED = 2, 3, 0x10


def told(kind: int, number: int, body: bytes, flags: int = 0) -> bytes:
    return _REQUEST.pack(_REQUEST.size + len(body), kind, flags, number, 0) + body


def code(number: int, error: int = 0) -> bytes:
    return told(_ERROR, number, struct.pack("=i", -error))


class Kernel:
    """A netlink socket. `answer` has the kind, number and body of a request, and gives messages."""

    def __init__(self, answer: Callable[[int, int, bytes], list[bytes]]) -> None:
        self._answer = answer
        self._waiting: list[bytes] = []
        self.sent: list[int] = []
        """How many requests each message had."""

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def setsockopt(self, *_: int) -> None:
        """There is no buffer."""

    def settimeout(self, _: float) -> None:
        """Nothing is waited for."""

    def send(self, message: bytes) -> None:
        requests = list(_parts(message))
        self.sent.append(len(requests))
        for request in requests:
            self._waiting += self._answer(*request)

    def recv(self, _: int) -> bytes:
        if not self._waiting:
            raise TimeoutError("timed out")
        return self._waiting.pop(0)


def _parts(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    start = 0
    while start < len(message):
        length, kind, _, number, _ = _REQUEST.unpack_from(message, start)
        yield kind, number, message[start + _REQUEST.size : start + length]
        start += length


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int, bytes], list[bytes]]], Kernel]:
    def played(answer: Callable[[int, int, bytes], list[bytes]]) -> Kernel:
        kernel = Kernel(answer)
        monkeypatch.setattr(socket, "socket", lambda *_: kernel)
        monkeypatch.setattr(socket, "if_nametoindex", _index_of)
        return kernel

    return played


Play = Callable[[Callable[[int, int, bytes], list[bytes]]], Kernel]


def _index_of(name: str) -> int:
    if name not in ("client0", "server0"):
        raise OSError("no interface with this name")
    return 3 + (name == "server0")


def named(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}"


def test_thousands_of_addresses_are_added_in_few_messages(play: Play) -> None:
    there: list[str] = []

    def answer(kind: int, number: int, body: bytes) -> list[bytes]:
        assert kind == 20
        assert body[:8] == struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 3)
        (local, other) = [value for _, value in rtnetlink.attributes(body, 8)]
        assert local == other
        there.append(socket.inet_ntoa(local))
        return [code(number)]

    kernel = play(answer)
    wanted = [named(number) for number in range(2000)]
    addresses.add([("client0", address) for address in wanted])
    assert there == wanted
    assert len(kernel.sent) < 2000 / 50


def test_what_the_kernel_refuses_keeps_no_other_from_being_added_and_is_named(play: Play) -> None:
    play(lambda _, number, __: [code(number, errno.EEXIST if number in (1, 2) else 0)])
    with pytest.raises(EdgeError) as failed:
        addresses.add([("client0", named(number)) for number in range(4)])
    assert str(failed.value) == "cannot add 10.0.0.1 to client0: File exists; cannot add 10.0.0.2 to client0: File exists"


def test_of_many_that_are_refused_some_are_named(play: Play) -> None:
    play(lambda _, number, __: [code(number, errno.EPERM)])
    with pytest.raises(EdgeError, match=r"^(cannot add 10.0.0.\d to client0: Operation not permitted; ){5}and 95 more$"):
        addresses.add([("client0", named(number)) for number in range(100)])


def test_an_interface_that_is_not_there_is_named(play: Play) -> None:
    play(lambda _, number, __: [code(number, errno.ENODEV)])
    with pytest.raises(EdgeError, match=r"^cannot add 10\.0\.0\.1 to nowhere: no such interface$"):
        addresses.add([("nowhere", named(1))])


def test_what_is_gone_already_is_removed(play: Play) -> None:
    kernel = play(lambda kind, number, _: [code(number, errno.EADDRNOTAVAIL if kind == 21 else errno.EINVAL)])
    addresses.remove([("client0", named(1)), ("nowhere", named(2))])
    assert kernel.sent == [1], "nobody is asked for an interface that is not there"


def test_an_address_that_cannot_be_removed_is_named(play: Play) -> None:
    play(lambda _, number, __: [code(number, errno.EPERM * (number == 0))])
    with pytest.raises(EdgeError, match=r"^cannot remove 10\.0\.0\.1 from client0: Operation not permitted$"):
        addresses.remove([("client0", named(1)), ("client0", named(2))])


def test_answers_that_come_in_another_order_belong_to_their_requests(play: Play) -> None:
    waiting: list[bytes] = []

    def answer(_: int, number: int, body: bytes) -> list[bytes]:
        waiting.insert(0, told(24, number, body * 2))
        return waiting if number == 2 else []

    play(answer)
    assert rtnetlink.exchange(26, 1, [b"0000", b"1111", b"2222"]) == [b"00000000", b"11111111", b"22222222"]


def test_a_kernel_that_does_not_answer_is_an_error(play: Play) -> None:
    play(lambda *_: [])
    with pytest.raises(EdgeError, match="rtnetlink"):
        rtnetlink.exchange(26, 1, [b"0000"])


@pytest.mark.parametrize("changes", [1, 4])
def test_a_table_that_changes_while_it_is_read_is_read_again(changes: int, play: Play) -> None:
    def answer(_: int, number: int, __: bytes) -> list[bytes]:
        flags = _INTERRUPTED if number < changes else 0
        return [told(20, number, b"old." if flags else b"new.", flags) + told(20, number, b"more"), told(_DONE, number, bytes(4))]

    play(answer)
    assert rtnetlink.listed(22, bytes(8)) == [b"new.", b"more"]


def test_a_table_that_never_stays_as_it_is_is_an_error(play: Play) -> None:
    play(lambda _, number, __: [told(20, number, b"some", _INTERRUPTED), told(_DONE, number, bytes(4), _INTERRUPTED)])
    with pytest.raises(EdgeError, match="has changed whenever it was read"):
        rtnetlink.listed(22, bytes(8))


def test_a_table_that_is_not_listed_is_an_error(play: Play) -> None:
    play(lambda _, number, __: [code(number, errno.EPERM)])
    with pytest.raises(EdgeError, match="Operation not permitted"):
        rtnetlink.listed(22, bytes(8))


@pytest.mark.parametrize("damaged", [b"\1", bytes(20), struct.pack("=IHHII", 3, 20, 0, 0, 0)])
def test_a_message_that_makes_no_sense_ends_nothing(damaged: bytes, play: Play) -> None:
    play(lambda _, number, __: [damaged, told(_DONE, number, bytes(4))])
    assert rtnetlink.listed(22, bytes(8)) == []


@pytest.mark.parametrize("damaged", [struct.pack("=HH", 0, 1), struct.pack("=HH", 3, 1), b"\1\0\2"])
def test_an_attribute_that_makes_no_sense_is_the_last_one(damaged: bytes) -> None:
    good = rtnetlink.attribute(2, b"abc")
    assert len(good) % 4 == 0
    assert list(rtnetlink.attributes(b"head" + good + damaged, 4)) == [(2, b"abc")]


def test_this_machine_has_the_address_and_the_interface_that_every_one_has() -> None:
    assert "127.0.0.1" in addresses.all_present()
    assert addresses.missing_interfaces(["lo", "nowhere", "lo", "nowhere"]) == ["nowhere"]
