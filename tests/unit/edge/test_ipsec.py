"""ipsec.py on a kernel that the test plays; on a real one, in tests/lab."""

import errno
import socket
import struct

import pytest

from appliance.edge import ipsec
from appliance.edge.errors import EdgeError

COUNTS = struct.pack("=HHIIIIII", 28, 1, 1, 2, 4, 0, 0, 0)
"""One policy for what comes in, two for what goes out, four for what is forwarded."""
HASH = struct.pack("=HHIII", 16, 2, 7, 24, 32)
"""Another attribute."""


def said(*attributes: bytes, kind: int = 0x24) -> bytes:
    payload = bytes(4) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, 1, 0) + payload


def refused(code: int) -> bytes:
    return struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -code)


class Kernel:
    """It has one answer."""

    def __init__(self, answer: bytes | OSError) -> None:
        self._answer = answer

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def settimeout(self, _: float) -> None:
        """Nothing is waited for."""

    def send(self, question: bytes) -> None:
        assert struct.unpack_from("=IH", question) == (len(question), 0x25)

    def recv(self, _: int) -> bytes:
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(("attributes", "expected"), [((COUNTS,), 6), ((HASH, COUNTS), 6), ((COUNTS, HASH), 6)])
def test_policies_for_what_goes_out_or_through_are_counted(
    attributes: tuple[bytes, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: Kernel(said(*attributes)))
    assert ipsec.policies() == expected


def test_a_kernel_without_ipsec_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: int) -> Kernel:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert ipsec.policies() == 0


@pytest.mark.parametrize(
    "answer",
    [
        refused(errno.EPERM),
        TimeoutError("timed out"),
        said(COUNTS, kind=3),
        said(HASH),
        said(bytes(4)),
        said(COUNTS[:8]),
        said(struct.pack("=HH", 28, 1)),
    ],
    ids=["refused", "no answer", "another kind", "another attribute", "an attribute of no length", "cut short", "nothing in it"],
)
def test_anything_else_is_an_error(answer: bytes | OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: Kernel(answer))
    with pytest.raises(EdgeError, match="cannot ask for IPsec policies"):
        ipsec.policies()
