"""One packet queue of the kernel: bind it, take packets in bounded batches, give verdicts.

The loop of NetfilterQueue runs until the queue is empty, and under a flood the queue is never empty. An exception of the callback
ends that loop, so the callback ends a batch by raising `BatchEnd` after its verdict. The loop stays in C. It waits for packets in
`recv` with a timeout and not in `poll`, so a wake-up costs one system call when packets come one by one, as they mostly do.
"""

import os
import select
import socket
import struct
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
    """Raised by `judge`, after its verdict, when this packet is to be the last of its batch."""


class KernelQueue:
    """The NFQUEUE with number `queue_num`, bound to this process alone."""

    def __init__(self, queue_num: int, judge: Callable[[Packet], None]) -> None:
        """`judge` is called with each packet and must give its verdict. Raises EdgeError when the queue cannot be bound."""
        self._queue = NetfilterQueue()
        try:
            self._queue.bind(
                queue_num, judge, max_len=QUEUE_PACKETS, mode=COPY_PACKET, range=COPIED_BYTES, sock_len=SOCKET_BUFFER_BYTES
            )
        except OSError as error:
            raise EdgeError(
                f"cannot bind packet queue {queue_num}: another program has it (see /proc/net/netfilter/nfnetlink_queue), "
                "or CAP_NET_ADMIN is missing"
            ) from error
        self._poll = select.poll()
        self._poll.register(self._queue.get_fd(), select.POLLIN)

    def set_wait(self, wait_s: float) -> None:
        """Set how long a batch waits for its next packet, in seconds, less than one. Until this is called it waits for ever."""
        with socket.socket(fileno=os.dup(self._queue.get_fd())) as queue_socket:
            queue_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(wait_s * 1e6)))

    def receive(self, *, wait: bool) -> None:
        """Give packets to `judge` until it ends the batch or no packet is left.

        With `wait`, the batch waits for each next packet for the time that `set_wait` has set; without, it only takes those that
        are there.
        """
        try:
            self._queue.run(block=wait)
        except BatchEnd:
            return

    def also_wait_for(self, other: socket.socket) -> None:
        """Let `wait` end as well when this socket can be read."""
        self._poll.register(other, select.POLLIN)

    def wait(self, wait_s: float) -> None:
        """Wait up to `wait_s` seconds for a packet, or for the socket of `also_wait_for`.

        It costs one system call more than `receive` with a wait.
        """
        self._poll.poll(wait_s * 1000)

    def close(self) -> None:
        """Unbind the queue; the kernel drops the packets that still wait in it."""
        self._queue.unbind()
