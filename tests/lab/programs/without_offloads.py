"""Has the stack finish checksums and cut segments itself, as `ethtool -K eth0 tx off` does: packets are then what they are on a
wire. Between veth devices they would otherwise stay unfinished wherever the lane carries them.
"""

import array
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_STXCSUM = 0x17  # linux/ethtool.h

value = array.array("I", [ETHTOOL_STXCSUM, 0])
request = struct.pack("16sP", b"eth0", value.buffer_info()[0])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCETHTOOL, request.ljust(40, b"\0"))
