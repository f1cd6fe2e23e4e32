"""A real server's view of the client-address option, with hand-made segments against the kernel's own TCP."""

import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import dpkt
import pytest
from pyroute2 import IPRoute

from appliance.config.loading import load
from appliance.lab import namespaces
from appliance.lab.names import ROLES, LabName
from appliance.lab.network import build_network
from appliance.lab.plan import make_plan
from appliance.lab.processes import start_service
from appliance.lab.readiness import http_status
from appliance.lab.removal import remove_lab
from appliance.wire.flow import pack_endpoint
from tests.support.addresses import RS1
from tests.support.segments import tcp

pytestmark = pytest.mark.once

SHIPPED = Path(__file__).parents[2] / "etc" / "lvs.toml"

PEER_ADDRESS = IPv4Address("192.0.2.200")
"""An address that no kernel in the lab has, so that none answers the real server instead of the test."""

OPTION, CLIENT = bytes.fromhex("fe08 9c41 c6336402"), "198.51.100.2:40001"
OTHER_OPTION, OTHER_CLIENT = bytes.fromhex("fe08 9c42 c6336403"), "198.51.100.3:40002"
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class RawPeer:
    """The peer of connections to rs1. It sends single segments with any option."""

    def __init__(self) -> None:
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._receiver.bind(("server0", dpkt.ethernet.ETH_TYPE_IP))

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()

    def connect(self, port: int, options: bytes = b"") -> None:
        """Do a handshake whose SYN carries `options`."""
        self._source, self._seq, self._ack = pack_endpoint(PEER_ADDRESS, port), 1000, 0
        self._send("S", options=options)
        self._seq += 1
        self._ack = self._receive(dpkt.tcp.TH_SYN).seq + 1
        self._send("A")

    def ask(self, options: bytes = b"") -> bytes:
        """Send a request in one segment with `options`. Returns the JSON of the answer, as text."""
        self._send("PA", data=REQUEST, options=options)
        self._seq += len(REQUEST)
        answer = b""
        while b"}" not in answer:
            segment = self._receive(dpkt.tcp.TH_PUSH)
            answer += bytes(segment.data)
            self._ack = segment.seq + len(segment.data)
        self._send("A")
        return answer[answer.index(b"{") :]

    def reset(self) -> None:
        self._send("RA")

    def _send(self, flags: str, data: bytes = b"", options: bytes = b"") -> None:
        segment = tcp(self._source, RS1, flags, seq=self._seq, ack=self._ack, data=data, options=options)
        self._sender.sendto(segment, ("192.0.2.101", 0))

    def _receive(self, flag: int) -> dpkt.tcp.TCP:
        while True:
            packet = dpkt.ip.IP(self._receiver.recv(65536))
            addressed_to_us = packet.dst == PEER_ADDRESS.packed and packet.data.dport == self._source[4] << 8 | self._source[5]
            if addressed_to_us and packet.data.flags & flag and packet.data.seq >= self._ack:
                return packet.data


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawPeer]:
    """The peer, in the gateway's namespace of a lab without an appliance."""
    name = LabName.of_this_process()
    plan = make_plan(load(SHIPPED))
    try:
        for role in ROLES:
            namespaces.create(name.namespace(role))
        build_network(name, plan)
        start_real_server(name, tmp_path_factory.mktemp("log") / "rs1.log")
        while http_status(name.namespace("gateway"), plan.listeners["rs1"][0], "/") != 200:
            assert namespaces.identity(name.namespace("rs1"))
        peer = namespaces.call_inside(name.namespace("gateway"), RawPeer)
        introduce_to_rs1(name)
        yield peer
        peer.close()
    finally:
        remove_lab(name)


def start_real_server(name: LabName, log: Path) -> None:
    enter = ("nsenter", f"--net={namespaces.path(name.namespace('rs1'))}", "--")
    server = (sys.executable, "-m", "appliance.lab.http_server", "--name", "rs1", "--listen", "192.0.2.101:8080")
    start_service((*enter, *server), log)


def introduce_to_rs1(name: LabName) -> None:
    """Tell rs1 that the peer's address is behind the gateway's interface: nobody would answer its ARP request."""

    def gateway_mac() -> str:
        with IPRoute() as netlink:
            mac: str = netlink.get_links(netlink.link_lookup(ifname="server0")[0])[0].get_attr("IFLA_ADDRESS")
            return mac

    mac = namespaces.call_inside(name.namespace("gateway"), gateway_mac)

    def add_neighbour() -> None:
        with IPRoute() as netlink:
            index = netlink.link_lookup(ifname="eth0")[0]
            netlink.neigh("add", dst=str(PEER_ADDRESS), lladdr=mac, ifindex=index, state=0x80)

    namespaces.call_inside(name.namespace("rs1"), add_neighbour)


def says(client: str | None) -> bytes:
    return b'"client": null' if client is None else f'"client": "{client}"'.encode()


def test_option_in_the_syn_holds_for_the_whole_connection(peer: RawPeer) -> None:
    peer.connect(6001, OPTION)
    assert says(CLIENT) in peer.ask()
    assert says(CLIENT) in peer.ask()


def test_option_in_the_packet_of_the_request_is_seen_with_that_request(peer: RawPeer) -> None:
    peer.connect(6002)
    assert says(CLIENT) in peer.ask(OPTION)
    assert says(CLIENT) in peer.ask()


def test_newer_option_replaces_the_one_of_the_syn(peer: RawPeer) -> None:
    peer.connect(6003, OPTION)
    assert says(OTHER_CLIENT) in peer.ask(OTHER_OPTION)


def test_connection_without_the_option_has_no_client(peer: RawPeer) -> None:
    peer.connect(6004)
    assert says(None) in peer.ask()


def test_port_used_again_without_the_option_does_not_inherit_a_client(peer: RawPeer) -> None:
    peer.connect(6005)
    assert says(CLIENT) in peer.ask(OPTION)
    peer.reset()
    peer.connect(6005)
    assert says(None) in peer.ask()
