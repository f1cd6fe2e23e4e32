"""Sets of IPv4 prefixes: read from text, put in order once, and asked whether an address is in them."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import blake2s
from ipaddress import IPv4Network

_LAST_ADDRESS = 0xFFFF_FFFF

_PREFIX = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?:/([0-9]{1,2}))?")


def range_of(text: str) -> tuple[int, int]:
    """The first and the last address of a prefix, as integers; an address alone is one of 32 bits.

    Raises ValueError, with the end of a sentence that begins with the text. A hundred thousand of them are read at a reload:
    `ipaddress` would take five times as long.
    """
    found = _PREFIX.fullmatch(text)
    if not found:
        raise ValueError("is not an IPv4 address or prefix, such as 192.0.2.0/24")
    *octets, length = found.groups()
    address = 0
    for octet in octets:
        if int(octet) > 255 or (octet[0] == "0" and octet != "0"):
            raise ValueError("is not an IPv4 address or prefix, such as 192.0.2.0/24")
        address = address << 8 | int(octet)
    bits = 32 if length is None else int(length)
    if bits > 32:
        raise ValueError("is not a prefix: it has more than 32 bits")
    others = _LAST_ADDRESS >> bits
    if address & others:
        raise ValueError("has bits set beyond its prefix")
    return address, address | others


class Prefixes:
    """A set of addresses, given by prefixes. Those that overlap, or follow one another, are one range here."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """`ranges` are pairs of the first and the last address, in any order."""
        self._firsts, self._lasts = array("I"), array("I")
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    @classmethod
    def of(cls, networks: Iterable[IPv4Network]) -> "Prefixes":
        """Those of some networks."""
        return cls((int(network.network_address), int(network.broadcast_address)) for network in networks)

    @property
    def ranges(self) -> Iterator[tuple[int, int]]:
        """First and last address of each range, in order; there is room between two of them."""
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._firsts)

    def __contains__(self, address: int) -> bool:
        place = bisect_right(self._firsts, address) - 1
        return place >= 0 and address <= self._lasts[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prefixes) and self._firsts == other._firsts and self._lasts == other._lasts

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for the content: equal for equal sets, in every run on hosts of one kind."""
        return blake2s(self._firsts.tobytes() + self._lasts.tobytes(), digest_size=8).hexdigest()

    def __or__(self, other: "Prefixes") -> "Prefixes":
        return Prefixes((*self.ranges, *other.ranges))


def show_range(first: int, last: int) -> str:
    """A range as nft writes it: as a prefix where it is one, else ``192.0.2.1-192.0.2.9``."""
    addresses = last - first + 1
    if addresses & addresses - 1 or first % addresses:
        return f"{_show(first)}-{_show(last)}"
    return _show(first) if addresses == 1 else f"{_show(first)}/{33 - addresses.bit_length()}"


def _show(address: int) -> str:
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
