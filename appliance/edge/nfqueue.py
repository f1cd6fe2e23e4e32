"""One kernel packet queue: bind, take packets in bounded helpings, hand verdicts back.

NetfilterQueue's loop runs until the queue is empty, which under a flood is never; but an exception of the callback ends it, so
the callback ends a helping by raising `HelpingOver` behind its verdict. The loop stays in C, and it waits for packets in `recv`,
up to a patience, rather than in `poll`: when packets come one by one, which is most of the time, a wake-up costs one system call.
"""

import os
import socket
import struct
from collections.abc import Callable

from netfilterqueue import COPY_PACKET, NetfilterQueue, Packet

from appliance.edge.errors import EdgeError

QUEUE_PACKETS = 8192
"""Packets the kernel keeps waiting for us. At ten microseconds each that is 80 ms: a longer queue only adds delay."""

SOCKET_BUFFER_BYTES = 32 * 1024 * 1024
"""Room for a full queue of the largest messages, with the kernel's own overhead."""

COPIED_BYTES = 3840
"""How much of a packet is copied; a longer one arrives cut. The library could do 4016, but it reads messages of 4096 bytes, and
with the kernel's attributes the message of a cut packet is longer than that. It would arrive cut itself, could not be parsed,
would get no verdict, and would hold its place in the queue for ever."""


class BatchEnd(Exception):  # noqa: N818  # no error: the ordinary end of a helping
    """Raised by `judge`, after its verdict, to make this packet the last of its helping."""


class KernelQueue:
    """NFQUEUE number `queue_num`, bound for this process alone."""

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

    def set_wait(self, wait_s: float) -> None:
        """How long a helping waits for its next packet, in seconds, less than one; without this it waits for ever."""
        with socket.socket(fileno=os.dup(self._queue.get_fd())) as queue_socket:
            queue_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(wait_s * 1e6)))

    def receive(self, *, wait: bool) -> None:
        """Have packets judged until `judge` ends the helping or there are no more.

        With `wait`, packets are waited for until none comes for the patience; without, only those are taken that are there.
        """
        try:
            self._queue.run(block=wait)
        except BatchEnd:
            return

    def close(self) -> None:
        """Unbind; the kernel drops what still waits."""
        self._queue.unbind()
