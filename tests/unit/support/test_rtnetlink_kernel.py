"""tests/support/rtnetlink_kernel.py: the kernel that stands for the real one."""

import socket

import pytest

from tests.support.rtnetlink_kernel import Kernel, code, play, told


def test_each_request_of_a_message_is_answered_and_what_is_left_is_waited_for_in_vain() -> None:
    kernel = Kernel(lambda kind, number, body: [told(kind, number, body), code(number, 1)])
    kernel.send(told(20, 5, b"five") + told(21, 6, b"six."))
    assert kernel.sent == [2]
    assert [kernel.recv(0) for _ in range(4)] == [told(20, 5, b"five"), code(5, 1), told(21, 6, b"six."), code(6, 1)]
    with pytest.raises(TimeoutError):
        kernel.recv(0)


def test_it_takes_the_place_of_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = play(monkeypatch, lambda *_: [])
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
        opened.send(told(20, 1, b"some"))
    assert kernel.sent == [1]
    assert socket.if_nametoindex("server0") == 4
    with pytest.raises(OSError, match="no interface"):
        socket.if_nametoindex("eth0")
