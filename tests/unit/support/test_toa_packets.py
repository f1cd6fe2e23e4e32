"""Packets at a lab's real server, as dpkt reads them."""

import socket

import dpkt

from tests.support.toa_packets import CLIENT_OPTION, LOCAL, REAL_SERVER, packet


def test_a_packet_goes_from_the_local_address_to_the_real_server() -> None:
    read = dpkt.ip.IP(packet(CLIENT_OPTION, dpkt.tcp.TH_SYN, b"data"))
    segment = read.data
    ends = [(socket.inet_ntoa(address), port) for address, port in ((read.src, segment.sport), (read.dst, segment.dport))]
    assert ends == [LOCAL, REAL_SERVER]
    assert (segment.flags, segment.opts, segment.data) == (dpkt.tcp.TH_SYN, CLIENT_OPTION, b"data")
    assert read.len == len(packet(CLIENT_OPTION, data=b"data"))


def test_headers_can_be_wrong() -> None:
    raw = packet(CLIENT_OPTION, version_ihl=0x46, protocol=17, data_offset=6)
    assert (raw[0], raw[9], raw[32] >> 4) == (0x46, 17, 6)
