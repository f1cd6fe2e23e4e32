"""netns.py: the cookie of a network namespace."""

import errno
import socket

import pytest

from appliance.edge import netns
from appliance.edge.errors import EdgeError


def test_a_namespace_has_the_same_cookie_each_time() -> None:
    first = netns.cookie()
    if first is None:
        pytest.skip("this kernel has no cookies of network namespaces")
    assert first > 0
    assert netns.cookie() == first


class Refusing:
    """A socket of a kernel that does not tell."""

    def __init__(self, code: int) -> None:
        self._code = code

    def __enter__(self) -> "Refusing":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def getsockopt(self, *_: int) -> bytes:
        raise OSError(self._code, "no")


def test_an_old_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: Refusing(errno.ENOPROTOOPT))
    assert netns.cookie() is None


def test_another_refusal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: Refusing(errno.EPERM))
    with pytest.raises(EdgeError, match="network namespace: no"):
        netns.cookie()
