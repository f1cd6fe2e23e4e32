"""What is in one of our nftables tables, and which chains there are at all, asked of the kernel itself.

The program nft reads every element of every set of the host before it lists a counter, which takes a second with a list of a
hundred thousand prefixes. These questions are asked every few seconds, so they go to the kernel over a netlink socket.
"""

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Iterator

from appliance.edge.errors import EdgeError
from appliance.edge.rtnetlink import HEADER, attribute, attributes, messages
from appliance.policy.early_rules import Chain

_NETLINK_NETFILTER = 12  # linux/netlink.h
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_NFTABLES = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_CHAINS, _GET_RULES, _GET_SETS, _GET_ELEMENTS, _GET_GENERATION, _GET_OBJECTS = 4, 7, 10, 13, 16, 19
"""linux/netfilter/nf_tables.h"""
_REQUEST = 0x1
_TABLE = 1
"""The attribute that names the table, in all of them."""
_OF_FAMILY = -1
"""In the place of an attribute: the family of the table."""
_NAME = {_GET_CHAINS: 3, _GET_SETS: 2, _GET_OBJECTS: 2}
_SET, _ELEMENTS = 2, 3
_GENERATION = 1
_HOOK, _POLICY, _REFERENCES = 4, 5, 6
"""Attributes of a chain; those of a hook follow."""
_HOOK_NUMBER, _PRIORITY, _DEVICE, _DEVICES = 1, 2, 3, 4
_DEVICE_NAME = 1
_HOOKS = {(2, 0): "prerouting", (1, 0): "prerouting", (1, 5): "ingress", (5, 0): "ingress"}
"""By family and number: linux/netfilter.h."""
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev"}
_DROPS = 0
_OBJECT_TYPE, _OBJECT_DATA, _COUNTER, _PACKETS = 3, 4, 1, 2

_FAMILY = struct.Struct("=BBH")
_TYPE_BITS = 0x3FFF

_TRIES = 20
"""How often a dump is asked for that somebody else's change interrupts."""

_TIMEOUT_S = 10.0
_MESSAGE_BYTES = 1 << 17


def counters(table: str) -> dict[str, int]:
    """Packets by the name of each named counter of a table of the family ip; empty while there is no such table."""
    found = {}
    for item in _all(_GET_OBJECTS, _text(_TABLE, table) + attribute(_OBJECT_TYPE, struct.pack(">I", _COUNTER))):
        data = _parsed(item.get(_OBJECT_DATA, b""))
        if _PACKETS in data and _name(item[_TABLE]) == table:
            found[_name(item[_NAME[_GET_OBJECTS]])] = int.from_bytes(data[_PACKETS], "big")
    return found


def chains(table: str) -> frozenset[str]:
    """The names of the chains of a table."""
    return _names(_GET_CHAINS, table)


def sets(table: str) -> frozenset[str]:
    """The names of the sets and maps of a table."""
    return _names(_GET_SETS, table)


def all_chains() -> list[Chain]:
    """The chains of all tables for IPv4 and for devices. Raises EdgeError."""
    found = _all(_GET_CHAINS, b"", family=socket.AF_UNSPEC)
    return [_chain(_FAMILIES[family], item) for item in found if (family := item[_OF_FAMILY][0]) in _FAMILIES]


def rules(table: str) -> tuple[bytes, ...]:
    """The rules of a table as the kernel writes them: equal ones are the same rules. Counters that have names are not in it."""
    found = _all(_GET_RULES, _text(_TABLE, table))
    return tuple(b"".join(item.values()) for item in found if _name(item[_TABLE]) == table)


def has_elements(table: str, set_name: str) -> bool:
    """Whether a set is there and has any element. Only the beginning of it is read."""
    asked = _dump(_GET_ELEMENTS, _text(_TABLE, table) + _text(_SET, set_name))
    return any(item.get(_ELEMENTS) for item in asked)


def generation() -> int:
    """The number of the ruleset of this network namespace: another one after each change of rules or elements, of whatever table.
    What packets add to a set of their own changes nothing."""
    for item in _all(_GET_GENERATION, b"", flags=_REQUEST):
        return int.from_bytes(item.get(_GENERATION, b""), "big")
    raise EdgeError("nftables: the kernel does not say which ruleset is in force")


def elements(table: str, set_name: str, *, in_order: bool) -> bytes:
    """What stands for the elements of a set: equal for equal ones.

    With `in_order` they are taken as they come, always in the same order in a set of intervals, and much quicker: one with a
    hundred thousand takes half a second, most of it in the kernel.
    """
    parts = [item.get(_ELEMENTS, b"") for item in _all(_GET_ELEMENTS, _text(_TABLE, table) + _text(_SET, set_name))]
    if not in_order:
        parts = sorted(value for part in parts for _, value in attributes(part, 0))
    found = hashlib.blake2s(digest_size=16)
    for part in parts:
        found.update(part)
    return found.digest()


def _names(kind: int, table: str) -> frozenset[str]:
    found = _all(kind, _text(_TABLE, table))
    return frozenset(_name(item[_NAME[kind]]) for item in found if _name(item[_TABLE]) == table)


def _chain(family: str, item: dict[int, bytes]) -> Chain:
    """Without a hook, its priority and policy mean nothing."""
    hook = _parsed(item.get(_HOOK, b""))
    return Chain(
        family,
        _name(item[_TABLE]),
        _name(item[_NAME[_GET_CHAINS]]),
        _HOOKS.get((item[_OF_FAMILY][0], _number(hook[_HOOK_NUMBER])), "another") if hook else "",
        struct.unpack(">i", hook[_PRIORITY])[0] if hook else 0,
        _devices(hook),
        _number(item.get(_REFERENCES, b"\1")),
        _number(item.get(_POLICY, b"\1")) == _DROPS,
    )


def _devices(hook: dict[int, bytes]) -> tuple[str, ...] | None:
    """The interfaces of a hook; None when they are told in another way than by their names."""
    listed = [*attributes(hook.get(_DEVICES, b""), 0)]
    one = [_name(hook[_DEVICE])] if _DEVICE in hook else []
    if any(kind & _TYPE_BITS != _DEVICE_NAME for kind, _ in listed):
        return None
    return tuple(sorted({*one, *(_name(value) for _, value in listed)}))


def _all(kind: int, asked: bytes, flags: int = _REQUEST_DUMP, family: int = socket.AF_INET) -> list[dict[int, bytes]]:
    for _ in range(_TRIES):
        try:
            return list(_dump(kind, asked, flags, family))
        except InterruptedError:
            continue
    raise EdgeError("nftables: the rules change too often to be read")


def _dump(kind: int, asked: bytes, asks: int = _REQUEST_DUMP, family: int = socket.AF_INET) -> Iterator[dict[int, bytes]]:
    """The attributes of each item, or of the only one when no dump is asked for. Raises InterruptedError when there was a change
    meanwhile, and EdgeError."""
    request = _FAMILY.pack(family, 0, 0) + asked
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as asking:
            asking.settimeout(_TIMEOUT_S)
            asking.bind((0, 0))
            asking.send(HEADER.pack(HEADER.size + len(request), _NFTABLES | kind, asks, 1, 0) + request)
            while True:
                for message, flags, _, body in messages(asking.recv(_MESSAGE_BYTES)):
                    if flags & _INTERRUPTED:
                        raise InterruptedError
                    if message == _DONE or (message == _ERROR and _is_absent(body)):
                        return
                    yield {_OF_FAMILY: body[:1]} | _parsed(body[_FAMILY.size :])
                    if asks == _REQUEST:
                        return
    except InterruptedError:
        raise
    except OSError as error:
        raise EdgeError(f"nftables: {error.strerror or error}") from error


def _is_absent(error: bytes) -> bool:
    """Whether an error says that there is no such table or set. Raises OSError for every other one."""
    number = -struct.unpack_from("=i", error)[0]
    if number in (errno.EINTR, errno.EAGAIN):
        raise InterruptedError
    if number and number != errno.ENOENT:
        raise OSError(number, os.strerror(number))
    return True


def _parsed(data: bytes) -> dict[int, bytes]:
    return {kind & _TYPE_BITS: value for kind, value in attributes(data, 0)}


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
