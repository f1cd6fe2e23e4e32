"""Who is at the other end of a connection to the API: which local user, and whether that user may change anything.

On a Unix socket the kernel says whose process connected (SO_PEERCRED, SO_PEERGROUPS). On TCP within this host the kernel is asked
who owns the other socket of the connection (sock_diag). The owner of a socket is the user that made it, so a program that runs
for root with `sudo` is root's.
"""

import errno
import os
import pwd
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, Protocol

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, SS_ALL, DiagSocket, inet_diag_req
from pyroute2.netlink.exceptions import NetlinkError

from appliance.edge.errors import EdgeError
from appliance.ipc.rows import Caller

_SO_PEERGROUPS = 59
_MOST_GROUPS = 256
_ESTABLISHED = 1
_ANY_COOKIE = (1 << 64) - 1
_ROOT = 0


class Socket(Protocol):
    """What is needed of a connected socket; also the socket objects of event loops have it."""

    @property
    def family(self) -> int:
        """The address family."""

    def getsockname(self) -> object:
        """Its own address."""

    def getpeername(self) -> object:
        """The address of the other end."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes:
        """A socket option as bytes."""


class TcpEnds(NamedTuple):
    """Both ends of a TCP connection to this process."""

    client: tuple[IPv4Address | IPv6Address, int]
    server: tuple[IPv4Address | IPv6Address, int]


class LocalUser(NamedTuple):
    """The process at the other end of a Unix socket, when it connected."""

    uid: int
    groups: frozenset[int]


def note(sock: Socket) -> TcpEnds | LocalUser:
    """What the socket itself says of its other end. Does not block. Raises OSError when the connection is gone."""
    if sock.family == socket.AF_UNIX:
        _, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return LocalUser(uid, frozenset([gid, *_other_groups(sock)]))
    return TcpEnds(_end(sock.getpeername()), _end(sock.getsockname()))


def who(peer: TcpEnds | LocalUser) -> Caller:
    """The user at the other end. Root, the user of this process and those in its group may write, and so may other hosts.

    Blocks for about a millisecond. Raises EdgeError when the kernel cannot be asked. Nobody may write who cannot be found behind
    a connection from or to a loopback address, for instance because its client has closed it already.
    """
    if isinstance(peer, LocalUser):
        return _user(peer.uid, peer.groups)
    uid = _owner(peer)
    if uid is not None:
        return _user(uid, _groups(uid))
    if peer.client[0].is_loopback or peer.server[0].is_loopback:
        return Caller("a local user who has gone", may_write=False)
    return Caller("another host", may_write=True)


def _user(uid: int, groups: frozenset[int]) -> Caller:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "without a name"
    return Caller(f"user {name} ({uid})", may_write=uid in (_ROOT, os.geteuid()) or os.getegid() in groups)


def _other_groups(sock: Socket) -> tuple[int, ...]:
    """The supplementary groups of the process that connected; none when there are more than _MOST_GROUPS."""
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:
        return ()
    return struct.unpack(f"{len(groups) // 4}i", groups)


def _end(name: object) -> tuple[IPv4Address | IPv6Address, int]:
    if not isinstance(name, tuple):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    address = ip_address(name[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, name[1]


def _owner(ends: TcpEnds) -> int | None:
    """The user who made the client's socket of a connection within this host; None when there is no such socket here."""
    (address, port), (server, server_port) = ends
    request = inet_diag_req()
    request["sdiag_family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    request["sdiag_protocol"] = socket.IPPROTO_TCP
    request["idiag_states"] = SS_ALL
    request["idiag_src"], request["idiag_sport"] = _words(address), port
    request["idiag_dst"], request["idiag_dport"] = _words(server), server_port
    request["idiag_cookie"] = _ANY_COOKIE
    try:
        with DiagSocket() as kernel:
            answers = list(kernel.nlm_request(request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST))
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return None
        raise EdgeError(f"cannot ask the kernel who owns a socket: {error}") from error
    except OSError as error:
        raise EdgeError(f"cannot ask the kernel who owns a socket: {error.strerror}") from error
    for answer in answers:
        # A socket that its process has closed has no inode, and then the kernel names root as its owner.
        if answer["idiag_state"] == _ESTABLISHED and answer["idiag_inode"] and answer["idiag_dport"] == server_port:
            uid: int = answer["idiag_uid"]
            return uid
    return None


def _words(address: IPv4Address | IPv6Address) -> tuple[int, ...]:
    words = struct.unpack(f">{len(address.packed) // 4}I", address.packed)
    return (*words, *(0,) * (4 - len(words)))


def _groups(uid: int) -> frozenset[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
