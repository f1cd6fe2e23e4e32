"""What nftables drops of the packets that a rule marks (`meta nftrace set 1`), as the kernel tells it over a netlink socket.

The messages are read here, and not by `nft monitor`: a process of its own would stay when the director is killed, and its text
has no packets.
"""

import re
import socket
import struct
import subprocess
import time
from collections import OrderedDict
from typing import NamedTuple, Self

from appliance.edge import nft_dump
from appliance.edge.errors import EdgeError
from appliance.edge.guard import Guard
from appliance.edge.rtnetlink import attributes, messages
from appliance.policy.trace_rules import TRACE_TABLE, UNTOLD, name_of
from appliance.wire.flow import KEY_BYTES
from appliance.wire.layout import ADDRESSES_END, ADDRESSES_START, IP_HEADER_BYTES, TOTAL_LENGTH

_NETLINK_NETFILTER = 12  # linux/netlink.h
_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _NO_ENOBUFS = 1, 5
_GROUP_NFTRACE = 9  # linux/netfilter/nfnetlink.h
_TRACE = 10 << 8 | 17  # NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE; what follows is from linux/netfilter/nf_tables.h
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _NETWORK, _TRANSPORT, _POLICY = 1, 2, 3, 4, 5, 6, 8, 9, 16
_IS_POLICY, _IS_RULE = 1, 3
_VERDICT_CODE = 1
_DROP = 0
_FAMILY = struct.Struct("=BBH")
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev"}
_TYPE_BITS = 0x3FFF

_MESSAGE_BYTES = 1 << 17
_BUFFER_BYTES = 1 << 21
_MOST_AT_ONCE = 4000
"""Messages that are read in one go, so that a flood cannot keep the reader."""

_PACKETS_KNOWN = 512
"""Packets whose headers are remembered until the rule is named that drops them."""

_NFT_S = 10.0
_RULE_SHOWN = 200
"""Characters of a rule without a counter: one with a list of addresses can have millions."""

_COUNTER = re.compile(r'counter name "?(\w+)"?')


class KernelDrop(NamedTuple):
    """A packet that a rule, or the policy of a chain, has dropped."""

    at_s: float
    """When it was told, in seconds of the monotonic clock."""
    rule: str
    """The named counter of the rule, or the rule itself with its table and chain."""
    headers: bytes
    """The IP header, and up to twenty bytes behind it; empty when the kernel has not told them."""
    packet_bytes: int
    """How long the packet was, as its header says."""
    key: bytes
    """The flow of the packet as it came, whatever was made of it since; empty when that is not known."""


class KernelTrace:
    """The drops of marked packets, from when this is made until it is closed."""

    def __init__(self, table: str) -> None:
        """`table` is the nft text of the table that marks packets. Raises EdgeError when the kernel refuses. It blocks."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._name = name_of(table)
        self._owner = Guard()  # it holds any table as it holds the guard's
        self._headers: OrderedDict[bytes, bytes] = OrderedDict()
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()
        """Both by the number that the kernel gives a packet."""
        self._rules: dict[tuple[str, str, str], dict[int, str]] = {}
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTRACE)
            self._owner.hold(table)
        except OSError as error:
            self.close()
            raise EdgeError(f"cannot listen to nftrace: {error.strerror}") from error
        except EdgeError:
            self.close()
            raise

    def close(self) -> None:
        """Remove the table. It blocks."""
        self._owner.release()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self) -> list[KernelDrop]:
        """The drops since the last call. It does not wait, but for nft when a rule is not known yet."""
        drops = []
        for _ in range(_MOST_AT_ONCE):
            try:
                data = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            for kind, _, _, body in messages(data):
                if kind == _TRACE and (drop := self._read(body)) is not None:
                    drops.append(drop)
        return drops

    def untold(self) -> int:
        """How many marked packets there were until now of which the kernel does not tell: too many came. Raises EdgeError."""
        return nft_dump.counters(self._name).get(UNTOLD, 0)

    def _read(self, body: bytes) -> KernelDrop | None:
        if len(body) < _FAMILY.size:
            return None
        found = {kind & _TYPE_BITS: value for kind, value in attributes(body, _FAMILY.size)}
        number = found.get(_ID, b"")
        if _NETWORK in found:
            self._note(number, found[_NETWORK] + found.get(_TRANSPORT, b""), found.get(_TABLE, b""))
        if not _is_drop(found):
            return None
        place = (_FAMILIES.get(body[0], "ip"), _name(found.get(_TABLE, b"")), _name(found.get(_CHAIN, b"")))
        headers = self._headers.get(number, b"")
        packet_bytes = _number(headers[TOTAL_LENGTH]) if len(headers) >= IP_HEADER_BYTES else len(headers)
        return KernelDrop(time.monotonic(), self._rule(place, found), headers, packet_bytes, self._keys.get(number, b""))

    def _note(self, number: bytes, headers: bytes, table: bytes) -> None:
        self._headers[number] = headers
        if table.startswith(TRACE_TABLE.encode()):  # the first table that it meets; numbers are used again
            self._keys[number] = headers[ADDRESSES_START:ADDRESSES_END].ljust(KEY_BYTES, b"\0")
        for known in (self._headers, self._keys):
            while len(known) > _PACKETS_KNOWN:
                known.popitem(last=False)

    def _rule(self, place: tuple[str, str, str], found: dict[int, bytes]) -> str:
        where = " ".join(place)
        if _number(found[_TYPE]) == _IS_POLICY:
            return f"policy of {where}"
        handle = _number(found.get(_HANDLE, b""))
        if handle not in self._rules.get(place, {}):
            self._rules[place] = {handle: ""} | _rules_of(place)  # one that is not listed is not asked for again
        rule = self._rules[place][handle]
        counter = _COUNTER.search(rule)
        return counter[1] if counter else f"{where}: {rule[:_RULE_SHOWN] or f'rule {handle}'}"


def _is_drop(found: dict[int, bytes]) -> bool:
    kind = _number(found.get(_TYPE, b""))
    if kind == _IS_POLICY:
        return _number(found.get(_POLICY, b"\xff")) == _DROP
    verdict = {code & _TYPE_BITS: value for code, value in attributes(found.get(_VERDICT, b""), 0)}
    return kind == _IS_RULE and _number(verdict.get(_VERDICT_CODE, b"\xff")) == _DROP


def _rules_of(place: tuple[str, str, str]) -> dict[int, str]:
    """The rules of a chain, by handle; none when nft cannot list them."""
    try:
        command = ["nft", "--stateless", "--handle", "list", "chain", *place]
        listing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_NFT_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {int(handle): rule.strip() for rule, handle in re.findall(r"^(.*) # handle (\d+)$", listing, re.MULTILINE)}


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
