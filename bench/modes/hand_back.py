"""The least that a Python program can do with a packet queue and still read and write every packet: hand each one back as it
came.

The appliance is compared with it: the difference is the appliance's own work, the rest is the cost of the queue.
"""

import argparse
import gc

from netfilterqueue import COPY_PACKET, NetfilterQueue, Packet

from appliance.edge.nfqueue import QUEUE_PACKETS, SOCKET_BUFFER_BYTES

_WHOLE_PACKET = 0xFFFF


def hand_back(packet: Packet) -> None:
    """Give the kernel the packet's own bytes as if they were new."""
    packet.set_payload(packet.get_payload())
    packet.accept()


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queue", type=int, required=True)
    options = parser.parse_args()
    queue = NetfilterQueue()
    # Queue length, buffer and garbage collection as in the appliance: those are not to be compared.
    queue.bind(
        options.queue, hand_back, max_len=QUEUE_PACKETS, mode=COPY_PACKET, range=_WHOLE_PACKET, sock_len=SOCKET_BUFFER_BYTES
    )
    gc.disable()
    queue.run()


if __name__ == "__main__":
    main()
