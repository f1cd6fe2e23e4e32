"""peer.py: who is at the other end, on sockets of this process; who else may write is told by a kernel that the test plays."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from appliance.edge import peer
from appliance.edge.peer import LocalUser, TcpEnds, note, who

STRANGER = 61_234
"""A user number that no account of a machine has."""


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's socket and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted


def test_a_unix_socket_says_whose_process_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        noted = note(ours)
        assert isinstance(noted, LocalUser)
        assert noted.uid == os.geteuid()
        assert os.getegid() in noted.groups
        assert who(noted).may_write is True


@pytest.mark.parametrize(
    ("uid", "groups", "expected"),
    [(0, [STRANGER], True), (STRANGER, [STRANGER], False), (STRANGER, [STRANGER, os.getegid()], True), (os.geteuid(), [], True)],
)
def test_root_the_service_and_its_group_may_write(uid: int, groups: list[int], expected: bool) -> None:
    assert who(LocalUser(uid, frozenset(groups))).may_write is expected


def test_the_owner_of_a_tcp_socket_is_found() -> None:
    with tcp_pair() as (client, accepted):
        noted = note(accepted)
        assert noted == TcpEnds(
            (IPv4Address("127.0.0.1"), client.getsockname()[1]), (IPv4Address("127.0.0.1"), accepted.getsockname()[1])
        )
        assert peer._owner(noted) == os.geteuid()
        assert who(noted).may_write is True


def test_a_client_that_has_closed_its_socket_is_nobody() -> None:
    """The kernel names root as the owner of such a socket, so a client could send a request and close."""
    with tcp_pair() as (client, accepted):
        noted = note(accepted)
        client.close()
        assert who(noted) == ("a local user who has gone", False)


@pytest.mark.parametrize(("uid", "expected"), [(STRANGER, False), (0, True), (None, False)])
def test_a_user_on_loopback_is_judged_by_the_owner(monkeypatch: pytest.MonkeyPatch, uid: int | None, expected: bool) -> None:
    monkeypatch.setattr(peer, "_owner", lambda _: uid)
    end = (ip_address("127.0.0.1"), 1)
    assert who(TcpEnds(end, end)).may_write is expected


def test_nobody_who_reaches_a_loopback_address_is_on_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of this host may take any of its addresses as source, and close its socket before its owner is asked for."""
    monkeypatch.setattr(peer, "_owner", lambda _: None)
    assert not who(TcpEnds((ip_address("198.51.100.1"), 1), (ip_address("127.0.0.1"), 9380))).may_write


def test_nobody_here_behind_another_address_is_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_owner", lambda _: None)
    assert who(TcpEnds((ip_address("198.51.100.2"), 1), (ip_address("198.51.100.1"), 9380))) == ("another host", True)


def test_a_mapped_address_is_the_ipv4_address_that_it_maps() -> None:
    assert peer._end(("::ffff:127.0.0.1", 5, 0, 0)) == (IPv4Address("127.0.0.1"), 5)
    assert peer._end(("::1", 5, 0, 0)) == (IPv6Address("::1"), 5)


def test_a_socket_whose_client_is_gone_is_an_error() -> None:
    with socket.socket() as sock, pytest.raises(OSError, match="not connected"):
        note(sock)


@pytest.mark.parametrize(("uid", "name"), [(0, "user root (0)"), (STRANGER, f"user without a name ({STRANGER})")])
def test_a_user_has_a_name_for_the_log(uid: int, name: str) -> None:
    assert who(LocalUser(uid, frozenset())).name == name
