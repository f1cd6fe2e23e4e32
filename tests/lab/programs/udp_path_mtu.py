"""`udp_path_mtu.py BYTES`: send a datagram of BYTES that must not be fragmented, and learn from the ICMP error that the path is
narrower; then send one that just fits. Prints as JSON the path MTU it learnt and how many bytes of the last datagram came back.
"""

import json
import os
import socket
import sys

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h
HEADERS_BYTES = 28
LINE_BYTES = 80
"""The answer is longer by at most so much."""
ASK_AGAIN_S, TIMES = 2.0, 10


def main(size_bytes: int) -> dict[str, int]:
    """Learn the path MTU. After the ICMP error about the first datagram, the kernel refuses others that are too long
    (EMSGSIZE)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(ASK_AGAIN_S)
        udp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        udp.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        for _ in range(TIMES):
            try:
                udp.send(bytes(size_bytes))
                udp.recv(2048)
            except TimeoutError:  # of this datagram, or the error about it, a busy machine has lost one
                continue
            except OSError:  # EMSGSIZE, for a socket that asks for path MTU discovery
                break
            break
        udp.settimeout(ASK_AGAIN_S * TIMES)
        udp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # the error about another one of them is known as well
        path_mtu = udp.getsockopt(socket.IPPROTO_IP, IP_MTU)
        udp.send(bytes(path_mtu - HEADERS_BYTES - LINE_BYTES))
        echo = udp.recv(2048).partition(b"\n")[2]
        return {"path_mtu": path_mtu, "echo_bytes": len(echo), "sent_bytes": path_mtu - HEADERS_BYTES - LINE_BYTES}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
