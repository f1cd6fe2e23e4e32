"""Send COUNT segments to the VIP, each from another port, as fast as possible; prints "flooding" first.

`segment_flood.py COUNT [PAYLOAD_BYTES [FLAGS]]`; without PAYLOAD_BYTES, segments are empty, and without FLAGS (a number) they are
acknowledgements.
"""

import os
import socket
import struct
import sys

from appliance.wire.checksum import checksum, pseudo_header_sum

SOURCE = socket.inet_aton("198.51.100.2")


def main(count: int, payload: bytes, flags: int = 0x10) -> None:
    """Send `count` segments."""
    destination, port = socket.inet_aton(os.environ["LAB_VIP"]), int(os.environ["LAB_PORT"])
    segments = []
    for source_port in range(1024, 1024 + min(count, 4096)):
        bare = struct.pack("!HHIIHHHH", source_port, port, 1, 1, 0x5000 | flags, 512, 0, 0) + payload
        total = checksum(bare, pseudo_header_sum(SOURCE + destination, socket.IPPROTO_TCP, len(bare)))
        segments.append(bare[:16] + struct.pack("!H", total) + bare[18:])
    print("flooding", flush=True)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.connect((os.environ["LAB_VIP"], 0))
        for index in range(count):
            raw.send(segments[index % len(segments)])


if __name__ == "__main__":
    main(int(sys.argv[1]), bytes(int(sys.argv[2]) if len(sys.argv) > 2 else 0), *map(int, sys.argv[3:]))
