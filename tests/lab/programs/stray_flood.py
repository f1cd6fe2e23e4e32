"""Send unsolicited packets to the VIP, PER_S a second: `stray_flood.py udp|fragment COUNT PER_S`. Prints "flooding" first, and at
the end how many there were: COUNT, or more if standard input ends later.

"udp" goes to a port next to that of the service, "fragment" is the first part of a TCP packet to it.
"""

import itertools
import os
import select
import socket
import struct
import sys
import time

SOURCE = socket.inet_aton("198.51.100.2")
BATCH = 50


def packets(kind: str) -> list[bytes]:
    """Packets from 256 ports. They have no checksums, because they are dropped before anything checks those."""
    port = int(os.environ["LAB_PORT"])
    where, protocol, port = (0x2000, socket.IPPROTO_TCP, port) if kind == "fragment" else (0, socket.IPPROTO_UDP, port + 1)
    addresses = SOURCE + socket.inet_aton(os.environ["LAB_VIP"])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 60, 1, where, 64, protocol, 0) + addresses
    return [header + struct.pack("!HHHH", source_port, port, 40, 0) + bytes(32) for source_port in range(2048, 2304)]


def main(kind: str, count: int, per_s: int) -> None:
    """Send `count` packets, and go on until standard input ends."""
    to_send = packets(kind)
    print("flooding", flush=True)
    start = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for index in itertools.count():
            if index % BATCH == 0:
                time.sleep(max(0.0, start + index / per_s - time.monotonic()))
                if index >= count and select.select([sys.stdin], [], [], 0)[0]:
                    break
            raw.sendto(to_send[index % len(to_send)], (os.environ["LAB_VIP"], 0))
    print(index, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
