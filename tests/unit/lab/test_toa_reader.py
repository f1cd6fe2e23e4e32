"""lab/toa_reader.py: the client-address option byte by byte, and which one counts when a connection has several."""

import socket

import pytest

from appliance.lab.toa_reader import ClientAddress, ClientAddresses, ClientAddressReader, client_address, conn_key
from tests.support.toa_packets import CLIENT_OPTION, LOCAL, REAL_SERVER, packet

CLIENT = ClientAddress("198.51.100.2", 40001)
MSS = bytes.fromhex("020405b4")
FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10


KEY = conn_key(LOCAL, REAL_SERVER)


def test_option_is_port_then_address_in_network_order() -> None:
    assert client_address(packet(CLIENT_OPTION)) == CLIENT
    assert str(CLIENT) == "198.51.100.2:40001"


@pytest.mark.parametrize("flags", [SYN, ACK, PSH | ACK, FIN | PSH | ACK])
def test_option_counts_in_every_kind_of_packet_and_before_other_options(flags: int) -> None:
    assert client_address(packet(CLIENT_OPTION + MSS, flags, b"GET /")) == CLIENT


def test_client_that_claims_an_address_behind_the_option_is_not_believed() -> None:
    assert client_address(packet(CLIENT_OPTION + bytes.fromhex("fe08 1f90 cb007107"))) == CLIENT


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(packet(), id="no options"),
        pytest.param(packet(MSS + CLIENT_OPTION), id="not the first option"),
        pytest.param(packet(bytes.fromhex("fd089c41c6336402")), id="another kind"),
        pytest.param(packet(bytes.fromhex("fe0a9c41c6336402")), id="another length"),
        pytest.param(packet(CLIENT_OPTION)[:-1], id="cut short"),
        pytest.param(packet(data=CLIENT_OPTION), id="data that looks like the option"),
        pytest.param(packet(CLIENT_OPTION, data_offset=6), id="option area ends inside the option"),
        pytest.param(packet(CLIENT_OPTION, version_ihl=0x46), id="IP options"),
        pytest.param(packet(CLIENT_OPTION, protocol=socket.IPPROTO_UDP), id="not TCP"),
    ],
)
def test_everything_else_is_no_option(raw: bytes) -> None:
    assert client_address(raw) is None


def test_newest_option_of_a_connection_wins() -> None:
    addresses = ClientAddresses()
    addresses.note(packet(CLIENT_OPTION, SYN))
    addresses.note(packet(bytes.fromhex("fe08 9c42 c6336402")))
    assert addresses.get(KEY) == ClientAddress("198.51.100.2", 40002)


def test_packet_without_the_option_leaves_the_entry() -> None:
    addresses = ClientAddresses()
    addresses.note(packet(CLIENT_OPTION))
    addresses.note(packet(data=b"more"))
    assert addresses.get(KEY) == CLIENT


def test_syn_without_the_option_clears_what_the_connection_before_said() -> None:
    addresses = ClientAddresses()
    addresses.note(packet(CLIENT_OPTION))
    addresses.note(packet(MSS, SYN))
    assert addresses.get(KEY) is None


@pytest.mark.parametrize("length", [0, 12, 39])
def test_packet_too_short_for_its_headers_is_ignored(length: int) -> None:
    addresses = ClientAddresses()
    addresses.note(packet(CLIENT_OPTION))
    addresses.note(packet(MSS, SYN)[:length])
    assert addresses.get(KEY) == CLIENT


def test_oldest_connections_are_forgotten_above_the_bound() -> None:
    addresses = ClientAddresses(conns_max=2)
    keys = []
    for port in (5000, 5001, 5002):
        raw = bytearray(packet(CLIENT_OPTION))
        raw[20:22] = port.to_bytes(2, "big")
        addresses.note(bytes(raw))
        keys.append(conn_key((LOCAL[0], port), REAL_SERVER))
    assert [addresses.get(key) for key in keys] == [None, CLIENT, CLIENT]


def test_drain_takes_in_all_that_waits_and_does_not_block() -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels:
        ours.setblocking(False)
        reader = ClientAddressReader(ours)
        kernels.send(packet(CLIENT_OPTION, SYN))
        kernels.send(packet(MSS, SYN))
        reader.drain()
        with pytest.raises(BlockingIOError):
            ours.recv(1)


class ConnWithSavedSyn(socket.socket):
    """An accepted connection from LOCAL, whose saved SYN can be read once."""

    syn = packet(CLIENT_OPTION, SYN)

    def getpeername(self) -> tuple[str, int]:
        return LOCAL

    def getsockname(self) -> tuple[str, int]:
        return REAL_SERVER

    def getsockopt(self, *_: int) -> bytes:  # type: ignore[override]
        saved, self.syn = self.syn, b""
        return saved


def test_saved_syn_answers_when_the_tap_has_missed_it_and_for_later_requests_too() -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels, ConnWithSavedSyn() as conn:
        ours.setblocking(False)
        reader = ClientAddressReader(ours)
        assert [reader.client_of(conn), reader.client_of(conn)] == [CLIENT, CLIENT]


def test_a_later_packet_overrides_the_syn() -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels, ConnWithSavedSyn() as conn:
        ours.setblocking(False)
        kernels.send(packet(bytes.fromhex("fe08 9c42 c6336402")))
        assert ClientAddressReader(ours).client_of(conn) == ClientAddress("198.51.100.2", 40002)
