"""Conn entries and the table that finds them: one entry, two keys."""

from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from appliance.model import Direction, reverse_key
from appliance.service import RealServer, VirtualService
from appliance.stats import ACTIVE_CONNS, INACTIVE_CONNS
from appliance.tcp_state import FIRST, TcpState
from appliance.wire.checksum import MODULUS, delta
from appliance.wire.seq import MASK as SEQ_MASK

# Plain integers, bound once: this is asked several times for each connection, and an enum's member is looked up each time.
_NONE, _ESTABLISHED = int(TcpState.NONE), int(TcpState.ESTABLISHED)


class RewriteRecord(NamedTuple):
    """What a packet of one direction gets written over its headers. Plain data, which changes only when a session starts anew.

    A kernel fast path can mirror exactly these fields; a window shift joins them with SYNPROXY. A UDP session has no shifts.
    """

    addresses: bytes
    """The new 12 address bytes."""
    ip_delta: int
    """What the IP header checksum moves by (see wire.checksum)."""
    tcp_delta: int
    """What the TCP or UDP checksum moves by for addresses and ports: the pseudo header has the ones, the header the others."""
    seq_delta: int = 0
    """Added to the sequence number, modulo 2**32."""
    ack_delta: int = 0
    """Added to the acknowledgement number and to both edges of each SACK block, modulo 2**32."""


def rewrite_records(client_key: bytes, server_key: bytes, shift: int = 0) -> tuple[RewriteRecord, RewriteRecord]:
    """The records of both directions: client to VIP becomes local address to real server, and the reply the other way round.

    `shift` is what the client's sequence numbers move by. Reversing addresses moves words about and leaves their sum, so what
    one direction adds to a checksum the other takes away.
    """
    ip_delta, tcp_delta = delta(client_key[:8], server_key[:8]), delta(client_key, server_key)
    return (
        RewriteRecord(server_key, ip_delta, tcp_delta, seq_delta=shift & SEQ_MASK),
        RewriteRecord(reverse_key(client_key), -ip_delta % MODULUS, -tcp_delta % MODULUS, ack_delta=-shift & SEQ_MASK),
    )


class ConnEntry:
    """What one shard remembers of one connection. Slots, because there may be a million of them."""

    __slots__ = (
        "counts", "deadline", "first_table", "real_server", "records", "rs_ack", "rs_next_seq", "service", "state", "wheel_time",
    )  # fmt: skip

    def __init__(self, service: VirtualService, real_server: RealServer, client_key: bytes, server_key: bytes) -> None:
        """`client_key` is client to VIP as it arrives; `server_key` is local address to real server as it leaves."""
        self.service = service
        self.real_server = real_server
        self.counts = real_server.counts
        self.records = rewrite_records(client_key, server_key)
        """Indexed by Direction."""
        self.state: int = _NONE
        self.first_table = FIRST
        """The state table for client packets: FIRST until the real server was heard of, then IN."""
        self.deadline = inf
        self.wheel_time = inf
        self.rs_next_seq = 0
        """The number after the real server's last byte, modulo 2**32 when used: where a RST towards the client has to stand."""
        self.rs_ack = 0
        """The real server's last acknowledgement: where a RST towards it has to stand."""

    @property
    def client_key(self) -> bytes:
        """Client to VIP, the key of packets of Direction.INBOUND."""
        return reverse_key(self.records[Direction.OUTBOUND].addresses)

    @property
    def server_key(self) -> bytes:
        """Real server to local address, the key of packets of Direction.OUTBOUND."""
        return reverse_key(self.records[Direction.INBOUND].addresses)

    @property
    def local_address(self) -> bytes:
        """The local address, four bytes."""
        return self.records[Direction.INBOUND].addresses[:4]

    @property
    def local_port(self) -> int:
        """The local port."""
        return int.from_bytes(self.records[Direction.INBOUND].addresses[8:10], "big")

    def enter(self, state: int) -> None:
        """Change the state, and the real server's gauges with it: ESTABLISHED is active, all else is not (as `ipvsadm`)."""
        before = self.gauge()
        self.state = state
        after = self.gauge()
        if after != before:
            self.counts[before] -= 1
            self.counts[after] += 1

    def gauge(self) -> int:
        """Which gauge of its real server the entry counts in."""
        return ACTIVE_CONNS if self.state == _ESTABLISHED else INACTIVE_CONNS


class ConnTable:
    """All entries of a shard. A packet's own 12 address bytes find its entry; the dict that had it tells the direction."""

    def __init__(self) -> None:
        self.by_direction: tuple[dict[bytes, ConnEntry], dict[bytes, ConnEntry]] = ({}, {})
        """Indexed by Direction."""

    def __len__(self) -> int:
        return len(self.by_direction[Direction.INBOUND])

    def __iter__(self) -> Iterator[ConnEntry]:
        return iter(self.by_direction[Direction.INBOUND].values())

    def insert(self, conn: ConnEntry) -> None:
        """Add an entry under both keys and count it in its real server's gauges."""
        self.by_direction[Direction.INBOUND][conn.client_key] = conn
        self.by_direction[Direction.OUTBOUND][conn.server_key] = conn
        conn.counts[INACTIVE_CONNS] += 1

    def remove(self, conn: ConnEntry) -> None:
        """Take an entry out under both keys and out of the gauges."""
        del self.by_direction[Direction.INBOUND][conn.client_key]
        del self.by_direction[Direction.OUTBOUND][conn.server_key]
        conn.counts[conn.gauge()] -= 1
