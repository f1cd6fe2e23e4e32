"""addresses.py on a kernel that the test plays, and on that of this machine."""

import errno
import socket
import struct

import pytest

from appliance.edge import addresses, rtnetlink
from appliance.edge.errors import EdgeError
from tests.support.rtnetlink_kernel import code, play


def named(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}"


def test_thousands_of_addresses_are_added_in_few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []

    def answer(kind: int, number: int, body: bytes) -> list[bytes]:
        assert kind == 20
        assert body[:8] == struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 3)
        (local, other) = [value for _, value in rtnetlink.attributes(body, 8)]
        assert local == other
        there.append(socket.inet_ntoa(local))
        return [code(number)]

    kernel = play(monkeypatch, answer)
    wanted = [named(number) for number in range(2000)]
    addresses.add([("client0", address) for address in wanted])
    assert there == wanted
    assert len(kernel.sent) < 2000 / 50


def test_what_the_kernel_refuses_keeps_no_other_from_being_added_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [code(number, errno.EEXIST if number in (1, 2) else 0)])
    with pytest.raises(EdgeError) as failed:
        addresses.add([("client0", named(number)) for number in range(4)])
    assert str(failed.value) == "cannot add 10.0.0.1 to client0: File exists; cannot add 10.0.0.2 to client0: File exists"


def test_of_many_that_are_refused_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [code(number, errno.EPERM)])
    with pytest.raises(EdgeError, match=r"^(cannot add 10.0.0.\d to client0: Operation not permitted; ){5}and 95 more$"):
        addresses.add([("client0", named(number)) for number in range(100)])


def test_an_interface_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [code(number, errno.ENODEV)])
    with pytest.raises(EdgeError, match=r"^cannot add 10\.0\.0\.1 to nowhere: no such interface$"):
        addresses.add([("nowhere", named(1))])


def test_what_is_gone_already_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = play(monkeypatch, lambda kind, number, _: [code(number, errno.EADDRNOTAVAIL if kind == 21 else errno.EINVAL)])
    addresses.remove([("client0", named(1)), ("nowhere", named(2))])
    assert kernel.sent == [1], "nobody is asked for an interface that is not there"


def test_an_address_that_cannot_be_removed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [code(number, errno.EPERM * (number == 0))])
    with pytest.raises(EdgeError, match=r"^cannot remove 10\.0\.0\.1 from client0: Operation not permitted$"):
        addresses.remove([("client0", named(1)), ("client0", named(2))])


def test_this_machine_has_the_address_and_the_interface_that_every_one_has() -> None:
    assert "127.0.0.1" in addresses.all_present()
    assert addresses.missing_interfaces(["lo", "nowhere", "lo", "nowhere"]) == ["nowhere"]
