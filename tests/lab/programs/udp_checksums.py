"""Checks UDP checksums. On a real server `udp_checksums.py watch PORT` prints "ready", looks at every datagram that
arrives for PORT until standard input closes, and prints as JSON how many had a right checksum, none, or a wrong one.
On the client `udp_checksums.py send COUNT` sends COUNT datagrams without a checksum, each from its own port, and prints how many
were answered by which real server.
"""

import collections
import json
import os
import select
import socket
import sys

from appliance.wire.checksum import checksum, pseudo_header_sum

SO_NO_CHECK = 11  # asm-generic/socket.h
ETH_P_IP = 0x0800
SOL_PACKET, PACKET_AUXDATA, CHECKSUM_NOT_READY = 263, 8, 8  # linux/if_packet.h
LOST_AFTER_S = 20.0


def kind_of_checksum(packet: bytes, is_ready: bool) -> str:
    """ "none", "right" or "wrong", for a UDP packet from its IP header on.

    One that is not ready, because a device would finish it, counts as right: what the lane carries between veth devices
    stays as the client's stack has sent it.
    """
    datagram = packet[20:]
    if datagram[6:8] == b"\0\0":
        return "none"
    if not is_ready:
        return "right"
    total = checksum(datagram, pseudo_header_sum(packet[12:20], socket.IPPROTO_UDP, len(datagram)))
    return "wrong" if total else "right"


def watch(port: int) -> dict[str, int]:
    """Count checksums. A packet socket of one protocol sees what arrives, before UDP does, and nothing that is sent."""
    counts: collections.Counter[str] = collections.Counter()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as tap:
        tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([tap, sys.stdin], [], [])
            if tap in readable:  # before the end of input, so that everything that arrived until then is counted
                packet, [(_, _, auxiliary)], _, _ = tap.recvmsg(2048, 256)
                if packet[9] == socket.IPPROTO_UDP and packet[22:24] == port.to_bytes(2, "big"):
                    counts[kind_of_checksum(packet, not auxiliary[0] & CHECKSUM_NOT_READY)] += 1
            elif sys.stdin in readable:
                return counts


def send(count: int) -> dict[str, int]:
    """Send datagrams one after the other."""
    answered: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
            udp.settimeout(LOST_AFTER_S)
            udp.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
            udp.send(b"no checksum")
            answered[json.loads(udp.recv(2048).partition(b"\n")[0])["real_server"]] += 1
    return answered


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[2])) if sys.argv[1] == "watch" else send(int(sys.argv[2]))))
