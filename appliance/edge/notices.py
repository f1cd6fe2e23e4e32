"""The kernel's own notices that somebody has changed nftables rules, IPv4 addresses or interfaces of this network namespace.

A notice says only that it is time to look: what is there is read from the kernel anew, so a notice that is lost or forged costs
nothing but a look. That is why a plain netlink socket is enough, and neither a library nor `nft monitor` has to decode messages.
"""

import socket
from contextlib import suppress

from appliance.edge.rtnetlink import messages

_NETLINK_NETFILTER = 12  # linux/netlink.h
_ADD_MEMBERSHIP = 1
_NO_ENOBUFS = 5
_SOL_NETLINK = 270
_GROUP_NFTABLES = 7  # linux/netfilter/nfnetlink.h
_GROUP_LINK, _GROUP_IPV4_ADDRESS = 1, 5  # linux/rtnetlink.h

_OUR_RULES = (b"appliance\0", b"appliance_access\0", b"raw\0")
"""Names of tables, as they stand in a message. Other tables of the host may change many times a second."""

_KIND_MASK = 0xFF
_LAST_RULE_KIND = 8
"""NFT_MSG_DELRULE of linux/netfilter/nf_tables.h: those up to it are about tables, chains and rules, those above about what is in
sets, which may change many times a second, and about the rest."""

_MANY_MESSAGES = 16
"""When so many wait, the kernel may have dropped others, which could have been about our tables."""

_MESSAGE_BYTES = 1 << 16


class Notices:
    """Two sockets that become readable when there is something to look at."""

    def __init__(self) -> None:
        self._rules = _listening(_NETLINK_NETFILTER, _GROUP_NFTABLES)
        self._addresses = _listening(socket.NETLINK_ROUTE, _GROUP_LINK, _GROUP_IPV4_ADDRESS)

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """The sockets to wait for."""
        return self._rules, self._addresses

    def concern_us(self) -> bool:
        """Read all notices that have come; whether one of them may concern the appliance."""
        about_rules, about_addresses = (_received(listening) for listening in self.sockets)
        return bool(about_addresses) or len(about_rules) > _MANY_MESSAGES or any(map(_is_ours, about_rules))

    def close(self) -> None:
        """Close both sockets."""
        for listening in self.sockets:
            listening.close()


class RuleNotices:
    """A socket that becomes readable when somebody has changed tables, chains or rules, whosever they are."""

    def __init__(self) -> None:
        self._rules = _listening(_NETLINK_NETFILTER, _GROUP_NFTABLES)

    @property
    def sockets(self) -> tuple[socket.socket]:
        """The socket to wait for."""
        return (self._rules,)

    def concern_us(self) -> bool:
        """Read all notices that have come; whether one of them may be about tables, chains or rules."""
        received = _received(self._rules)
        return len(received) > _MANY_MESSAGES or any(map(_is_about_rules, received))

    def close(self) -> None:
        """Close the socket."""
        self._rules.close()


def _is_about_rules(datagram: bytes) -> bool:
    return any(kind & _KIND_MASK <= _LAST_RULE_KIND for kind, _, _, _ in messages(datagram))


def _is_ours(message: bytes) -> bool:
    return any(name in message for name in _OUR_RULES)


def _listening(protocol: int, *groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    opened.bind((0, 0))
    # Without this a full buffer is an error of the socket, at which libuv stops to watch it.
    opened.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
    for group in groups:
        opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return opened


def _received(listening: socket.socket) -> list[bytes]:
    """The messages that have come."""
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(_MESSAGE_BYTES))
    return messages
