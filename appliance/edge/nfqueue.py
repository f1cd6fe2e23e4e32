"""One packet queue of the kernel: bind it, and take packets in bounded batches.

The loop of NetfilterQueue runs until the queue is empty, and under a flood the queue is never empty. An exception of the callback
ends that loop, so the callback ends a batch by raising `BatchEnd`. The loop stays in C.
"""

import select
import socket
from collections.abc import Callable

from netfilterqueue import COPY_PACKET, NetfilterQueue, Packet

from appliance.edge.errors import EdgeError

QUEUE_PACKETS = 8192
"""How many packets may wait in the queue. At ten microseconds each that is 80 ms; a longer queue would only add delay."""

SOCKET_BUFFER_BYTES = 32 * 1024 * 1024
"""Enough for a full queue of the largest messages, with the kernel's own overhead."""

COPIED_BYTES = 3840
"""How much of a packet is copied; the rest of a longer one is missing. The library allows 4016, but it reads messages of 4096
bytes, and with the kernel's attributes the message of such a packet would be longer. It could not be parsed, would get no
verdict, and would keep its place in the queue for ever."""


class BatchEnd(Exception):  # noqa: N818  # it is no error but the ordinary end of a batch
    """Raised by `arrived` when this packet is to be the last of its batch."""


class KernelQueue:
    """The NFQUEUE with number `queue_num`, bound to this process alone."""

    def __init__(self, queue_num: int, arrived: Callable[[Packet], None]) -> None:
        """`arrived` is called with each packet, and has to take its bytes; the verdict can be given later. Raises EdgeError when
        the queue cannot be bound."""
        self._queue = NetfilterQueue()
        try:
            self._queue.bind(
                queue_num, arrived, max_len=QUEUE_PACKETS, mode=COPY_PACKET, range=COPIED_BYTES, sock_len=SOCKET_BUFFER_BYTES
            )
        except OSError as error:
            raise EdgeError(
                f"cannot bind packet queue {queue_num}: another program has it (see /proc/net/netfilter/nfnetlink_queue), "
                "or CAP_NET_ADMIN is missing"
            ) from error
        self._other_fd = -1
        self._poll = select.poll()
        self._poll.register(self._queue.get_fd(), select.POLLIN)

    def also_wait_for(self, other: socket.socket) -> None:
        """Let `wait` end as well when this socket can be read."""
        self._other_fd = other.fileno()
        self._poll.register(other, select.POLLIN)

    def wait(self, wait_s: float) -> bool:
        """Wait up to `wait_s` seconds for a packet, or for the socket of `also_wait_for`; True when that has something to say:
        data, its end, or an error."""
        return self._other_fd in dict(self._poll.poll(wait_s * 1000))

    def receive(self) -> None:
        """Give packets to `arrived` until it ends the batch or no packet is left. This does not wait."""
        try:  # noqa: SIM105  # a worker does this for every few packets, and `contextlib.suppress` takes half a microsecond
            self._queue.run(block=False)
        except BatchEnd:
            pass

    def close(self) -> None:
        """Unbind the queue; the kernel drops the packets that still wait in it."""
        self._queue.unbind()
