"""host_sockets.py on the kernel of this machine, and on one that the test plays."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

import pytest

from appliance.edge.errors import EdgeError
from appliance.edge.host_sockets import HostSockets
from appliance.wire.flow import flow_key, pack_endpoint

HOME = IPv4Address("127.0.0.1")


def arriving(source_port: int, port: int, source: IPv4Address = HOME) -> bytes:
    """The key of a segment to this host."""
    return flow_key(pack_endpoint(source, source_port), pack_endpoint(HOME, port))


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """The ports of a connection: of its client, and of its server, which goes on listening."""
    with socket.create_server((str(HOME), 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            yield client.getsockname()[1], accepted.getsockname()[1]


def test_both_ends_of_a_connection_are_found_and_one_that_listens(pair: tuple[int, int]) -> None:
    client, server = pair
    with closing(HostSockets()) as asked:
        assert asked.has(arriving(client, server))
        assert asked.has(arriving(server, client))
        assert asked.has(arriving(1, server, IPv4Address("192.0.2.1"))), "it listens to everybody"


def test_a_segment_for_nobody_is_for_nobody(pair: tuple[int, int]) -> None:
    client, server = pair
    with closing(HostSockets()) as asked:
        assert not asked.has(arriving(1, client)), "another port than that of its peer"
        assert not asked.has(arriving(server, client, IPv4Address("192.0.2.1"))), "another address"


def test_a_connection_that_is_over_is_not_found() -> None:
    with socket.create_server((str(HOME), 0)) as listener:
        _, port = listener.getsockname()
    with closing(HostSockets()) as asked:
        assert not asked.has(arriving(1, port))


class Kernel:
    """What comes back on a netlink socket."""

    def __init__(self, *codes: int | None) -> None:
        """An error number for each question; None: the kernel does not answer."""
        self._codes = list(codes)
        self._number = 0

    def settimeout(self, _: float) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Nothing is open."""

    def send(self, question: bytes) -> None:
        (self._number,) = struct.unpack_from("=I", question, 8)

    def recv(self, _: int) -> bytes:
        code = self._codes.pop(0)
        if code is None:
            raise TimeoutError
        number = self._number if code >= 0 else self._number - 1
        return struct.pack("=IHHIIi", 36, 2, 0, number, 0, -abs(code)) if code else struct.pack("=IHHII", 72, 20, 0, number, 0)


def played(monkeypatch: pytest.MonkeyPatch, *codes: int | None) -> HostSockets:
    kernel = Kernel(*codes)
    real = socket.socket

    def opened(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, *rest: object) -> object:
        return kernel if family == socket.AF_NETLINK else real(family, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", opened)
    return HostSockets()


def test_a_kernel_that_knows_no_socket_at_all_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its module tcp_diag it has the same answer for each."""
    with pytest.raises(EdgeError, match="no sock_diag for TCP"):
        played(monkeypatch, errno.ENOENT)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, None])
def test_when_the_kernel_does_not_tell_there_may_be_a_socket(code: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert played(monkeypatch, 0, code).has(arriving(1, 2))


def test_a_late_answer_is_not_taken_for_that_of_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = played(monkeypatch, 0, None, -errno.EPERM, errno.ENOENT)
    assert asked.has(arriving(1, 2))
    assert not asked.has(arriving(1, 2))
