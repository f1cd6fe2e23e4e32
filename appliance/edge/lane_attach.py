"""Attaches the lane's program to interfaces, and takes it off again: one filter of tc at the ingress of each (clsact).

Filters of others stay untouched. Ours comes behind them, so what they drop the lane never sees; and the qdisc that holds the
filters is removed only when it holds no other. `clsact` and not TCX, which kernels before 6.6 do not have.
"""

import errno
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkError

from appliance.edge.errors import EdgeError

NAME = "appliance_lane"
"""The filter's name, by which ours is known."""

_PREFERENCE = 50000
"""Behind the filters of others: `tc` gives them 49152 and less when nobody asks for a number."""
_HANDLE = 1
_INGRESS, _EGRESS, _QDISC = 0xFFFFFFF2, 0xFFFFFFF3, 0xFFFF0000
_ETH_P_ALL = 3  # linux/if_ether.h
_TCA_BPF_ID = 11  # linux/pkt_cls.h
_ETHERNET = 1  # ARPHRD_ETHER, linux/if_arp.h
_NO_SUCH = (errno.ENOENT, errno.EINVAL, errno.ENODEV)
"""What the kernel answers to a question about filters where there is no qdisc, or no interface any more."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface, as the kernel has it at this moment."""

    index: int
    is_ethernet: bool


def links(interfaces: Iterable[str]) -> dict[str, Link]:
    """Those of the interfaces that exist, by name. Raises EdgeError when the kernel cannot be asked."""
    with _netlink() as ipr:
        found = {message.get_attr("IFLA_IFNAME"): message for message in ipr.get_links()}
    return {
        name: Link(found[name]["index"], found[name]["ifi_type"] == _ETHERNET)
        for name in dict.fromkeys(interfaces)
        if name in found
    }


def attached(indexes: Iterable[int]) -> dict[int, int]:
    """The number of the program in our filter, by the index of its interface; without those that have no filter of ours."""
    with _netlink() as ipr:
        ours = {index: _ours(ipr, index) for index in indexes}
    return {index: _program_id(found) for index, found in ours.items() if found is not None}


def attach(program_fd: int, index: int) -> None:
    """Attach a program to an interface, or put it in the place of the one that our filter has, in one step. Raises EdgeError."""
    with _netlink() as ipr:
        if _qdisc(ipr, index) is None:
            _add_qdisc(ipr, index)
        there = _at_our_place(ipr, index)
        if there is not None and not _is_ours(there):
            raise EdgeError(f"interface {index} has a filter of somebody else with the preference of the lane, {_PREFERENCE}")
        ipr.tc(
            "replace-filter",
            "bpf",
            index,
            handle=_HANDLE,
            parent=_INGRESS,
            prio=_PREFERENCE,
            protocol=_ETH_P_ALL,
            fd=program_fd,
            name=NAME,
            direct_action=True,
        )


def detach(index: int) -> bool:
    """Remove our filter from an interface, and the qdisc when it holds no other. Returns whether there was one of ours."""
    with _netlink() as ipr:
        found = _ours(ipr, index)
        if found is not None:
            ipr.tc("del-filter", "bpf", index, handle=_HANDLE, parent=_INGRESS, prio=_PREFERENCE, protocol=_ETH_P_ALL)
        qdisc = _qdisc(ipr, index)
        if found is not None and qdisc is not None and _is_idle(ipr, index, qdisc):
            ipr.tc("del", "clsact", index)
    return found is not None


def all_indexes() -> list[int]:
    """Every interface of this network namespace that has a filter of ours."""
    with _netlink() as ipr:
        return [index for index in (message["index"] for message in ipr.get_links()) if _ours(ipr, index) is not None]


@contextmanager
def _netlink() -> Iterator[Any]:
    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        raise EdgeError(f"tc: the kernel refuses the lane's filter: {error}") from error
    except NetlinkDecodeError as error:
        raise EdgeError(f"tc: the kernel's answer makes no sense: {error}") from error
    except OSError as error:
        raise EdgeError(f"tc: the kernel cannot be asked: {error.strerror}") from error


def _filters(ipr: Any, index: int, parent: int) -> list[Any]:
    try:
        return [message for message in ipr.get_filters(index, parent=parent) if message["index"] == index]
    except NetlinkError as error:
        if error.code in _NO_SUCH:
            return []
        raise


def _at_our_place(ipr: Any, index: int) -> Any | None:
    for message in _filters(ipr, index, _INGRESS):
        # The upper half of `info` is the preference. A message without a handle stands for all filters of a preference.
        if message["info"] >> 16 == _PREFERENCE and message["handle"]:
            return message
    return None


def _ours(ipr: Any, index: int) -> Any | None:
    found = _at_our_place(ipr, index)
    return found if found is not None and _is_ours(found) else None


def _is_ours(message: Any) -> bool:
    if message.get_attr("TCA_KIND") != "bpf" or message["handle"] != _HANDLE:
        return False
    return bool(message.get_nested("TCA_OPTIONS", "TCA_BPF_NAME") == NAME)


def _program_id(message: Any) -> int:
    options = message.get_attr("TCA_OPTIONS")
    for name, value in options["attrs"]:
        if name == "TCA_BPF_ID":
            return int(value)
        if name == "UNKNOWN" and value["header"]["type"] == _TCA_BPF_ID:  # pyroute2 0.9 has no name for it
            return int.from_bytes(value.data[value.offset + 4 : value.offset + 8], sys.byteorder)
    return 0


def _qdisc(ipr: Any, index: int) -> Mapping[str, Any] | None:
    """The qdisc that holds filters at the ingress; of kind clsact, or ingress, its older form."""
    for message in ipr.get_qdiscs(index):
        if message["index"] == index and message["handle"] == _QDISC:
            found: Mapping[str, Any] = message
            return found
    return None


def _add_qdisc(ipr: Any, index: int) -> None:
    try:
        ipr.tc("add", "clsact", index)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _is_idle(ipr: Any, index: int, qdisc: Any) -> bool:
    """Whether it is a clsact without any filter, which has no effect."""
    if qdisc.get_attr("TCA_KIND") != "clsact":
        return False
    return not _filters(ipr, index, _INGRESS) and not _filters(ipr, index, _EGRESS)
