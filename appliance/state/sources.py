"""How many sessions the clients of each source network have, in a shard and of one protocol.

A dict of networks would grow with every forged source. Here each network has a place in each of two tables of a fixed size, and
its count is the lower of the two numbers there. Two networks that share a place in one table hardly ever share the other one as
well, and Python keys hashes anew in each process, so nobody can look for a network that shares both with another one.
"""

from array import array

_PLACE_BITS = 16
_PLACE_MASK = (1 << _PLACE_BITS) - 1
Places = tuple[int, int]
"""Those of a network, one in each table."""
_EMPTY = array("I", bytes(array("I").itemsize << _PLACE_BITS))


class SourceCounts:
    """The counts. They take half a megabyte, whoever comes."""

    def __init__(self, prefix_bits: int) -> None:
        """A source network is an IPv4 prefix of `prefix_bits` (0..32)."""
        self.change_prefix(prefix_bits)

    def change_prefix(self, prefix_bits: int) -> None:
        """Count from nothing, by prefixes of this length. The sessions that there are do not count, and when they end they may be
        taken off the count of others; so counts can be too low until all of them have ended, but never too high."""
        self._first, self._second = _EMPTY[:], _EMPTY[:]
        self._whole_bytes, rest_bits = divmod(prefix_bits, 8)
        self._rest_mask = 0xFF00 >> rest_bits & 0xFF

    @property
    def in_use(self) -> int:
        """How many places are not empty."""
        return sum(len(table) - table.count(0) for table in (self._first, self._second))

    @property
    def most(self) -> int:
        """How many sessions the network with most of them has, or a few more. It takes a millisecond."""
        return min(max(self._first), max(self._second))

    def count(self, places: Places) -> int:
        """How many sessions a network has, or a few more."""
        one, other = places
        first, second = self._first[one], self._second[other]
        return first if first < second else second

    def add(self, places: Places) -> None:
        """Count a session of a client in this network."""
        one, other = places
        self._first[one] += 1
        self._second[other] += 1

    def remove(self, address: bytes) -> None:
        """A session of this client has ended."""
        one, other = self.places(address)
        if self._first[one]:
            self._first[one] -= 1
        if self._second[other]:
            self._second[other] -= 1

    def places(self, address: bytes) -> Places:
        """Where the network of this address (4 bytes) is counted. It holds until the prefix changes."""
        network = address[: self._whole_bytes]
        if self._rest_mask:
            network += bytes((address[self._whole_bytes] & self._rest_mask,))
        hashed = hash(network)
        return hashed & _PLACE_MASK, hashed >> _PLACE_BITS & _PLACE_MASK
