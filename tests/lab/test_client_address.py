"""The client-address option, end to end: real servers know the address of each client, also when packets are lost or arrive
twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import dpkt
import pytest

from tests.lab.capture import Capture, Captured
from tests.lab.conftest import RunningLab, running_lab_with_many_client_ports
from tests.lab.loss_rules import duplication, loss_on_both_sides_of_the_gateway
from tests.lab.raw_client import MSS_1460, NOP, RawClient, raw_addresses

CONNECTIONS = 10_000
MTU = 1500
UPLOAD_BYTES = 8 << 20
KIND = 254
IDENTIFICATION, ADDRESSES_TO_ACK = slice(4, 6), slice(12, 32)
ADDRESSES_AND_SEQ = slice(12, 28)
OPTION_START = bytes((KIND, 8))

LINUX_SYN = [2, 4, 8, 3]
"""Kinds of the options of a SYN as Linux sends it, 20 bytes with one NOP: MSS, SACK permitted, timestamp, window scale."""

RAW_ADDRESS = "198.51.100.99"
FORGED = bytes.fromhex("fe08 1f90 cb007107")
"""The option with 203.0.113.7:8080, an address that nobody has."""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    yield from running_lab_with_many_client_ports()


@contextmanager
def captured_at_real_servers(lab: RunningLab) -> Iterator[list[Captured]]:
    """After the block, the list has the packets that arrived at both real servers."""
    found: list[Captured] = []
    with Capture(lab, "rs1") as rs1, Capture(lab, "rs2") as rs2:
        yield found
        found += rs1.take_arrived() + rs2.take_arrived()


def assert_every_client_is_known(lab: RunningLab, *arguments: str, concurrency: int = 32) -> list[Captured]:
    """Check that real servers know the client of each connection, also from the request alone. Returns the packets they got."""
    with captured_at_real_servers(lab) as arrived:
        result = lab.script("client", "http_load.py", str(CONNECTIONS), str(concurrency), *arguments)
    assert result["errors"] == {}
    assert result["clients"] == {"right": CONNECTIONS}
    requests = [packet for packet in arrived if packet.payload_bytes]
    assert len(requests) >= CONNECTIONS
    first = {packet.raw[ADDRESSES_AND_SEQ]: packet for packet in reversed(requests)}
    # One that is sent again, because an acknowledgement was lost, needs no option: the real server has said that it knows it.
    assert {packet.option_bytes[:2] for packet in first.values()} == {OPTION_START}
    return arrived


@pytest.mark.parametrize("timestamp_remove", [1, 0])
def test_ten_thousand_clients_whose_syn_has_twenty_bytes_of_options(lab: RunningLab, timestamp_remove: int) -> None:
    """The SYN that Linux sends: with the option, 28 bytes of 40."""
    lab.set_tunable("fullnat_timestamp_remove_entry", timestamp_remove)
    try:
        with Capture(lab, "client") as at_client, captured_at_real_servers(lab) as arrived:
            lab.script("client", "http_load.py", "8", "8")
            sent = [packet for packet in at_client.take() if packet.is_outgoing]
        assert {len(syn.option_bytes) for syn in syns(sent)} == {20}
        assert [list(syn.options) for syn in syns(sent)] == [LINUX_SYN] * 8
        kept = [kind for kind in LINUX_SYN if kind != dpkt.tcp.TCP_OPT_TIMESTAMP or not timestamp_remove]
        assert [list(syn.options) for syn in syns(arrived)] == [[KIND, *kept]] * 8
        assert {len(syn.option_bytes) for syn in syns(arrived)} == {28}
        assert_every_client_is_known(lab)
    finally:
        lab.set_tunable("fullnat_timestamp_remove_entry", 1)


def syns(packets: list[Captured]) -> list[Captured]:
    """One of each: on a slow machine a SYN is sent again, as it was."""
    found = (packet for packet in packets if packet.flags == dpkt.tcp.TH_SYN)
    return [*{(packet.raw[ADDRESSES_AND_SEQ], packet.option_bytes): packet for packet in found}.values()]


def test_ten_thousand_clients_whose_first_data_carries_fin(lab: RunningLab) -> None:
    arrived = assert_every_client_is_known(lab, "fin")
    with_fin = [packet for packet in arrived if packet.flags & dpkt.tcp.TH_FIN]
    assert len({packet.raw[ADDRESSES_AND_SEQ] for packet in with_fin}) == CONNECTIONS
    request_bytes = len(b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert {packet.payload_bytes for packet in with_fin} == {request_bytes}, "no FIN has come by itself"


def test_ten_thousand_clients_under_one_percent_loss(lab: RunningLab) -> None:
    """Packets are lost at two points in each direction, 0.6 % at each."""
    with loss_on_both_sides_of_the_gateway(lab, per_mille=6) as lost:
        assert_every_client_is_known(lab, concurrency=200)
        assert_every_client_is_known(lab, "fin", concurrency=200)
        assert len(lost()) == 2
        assert min(lost().values()) > 2 * 2 * CONNECTIONS * 3 * 0.006 / 2, "at least three packets a connection pass each point"


def test_ten_thousand_clients_all_of_whose_packets_arrive_twice(lab: RunningLab) -> None:
    with duplication(lab) as doubled:
        arrived: list[Captured] = []
        with Capture(lab, "rs1") as rs1, Capture(lab, "rs2") as rs2:
            lab.script("client", "http_load.py", "8", "8")

            def all_came_twice() -> bool:
                arrived.extend(rs1.take_arrived() + rs2.take_arrived())
                return set(times_by_request(arrived).values()) == {2}

            lab.wait_until("each request has come twice", all_came_twice)
        assert_every_client_is_known(lab)
        assert set(doubled()) == {"from client", "from rs1", "from rs2"}
        assert min(doubled().values()) > CONNECTIONS


def times_by_request(arrived: list[Captured]) -> Counter[bytes]:
    """How often each request has come. A SYN may come once: when its copy is late, the connection is over, and the copy opens a
    session of its own."""
    # A copy has no option when what it copies was acknowledged meanwhile.
    return Counter(packet.raw[IDENTIFICATION] + packet.raw[ADDRESSES_TO_ACK] for packet in arrived if packet.payload_bytes)


@pytest.fixture(scope="module")
def raw_address(lab: RunningLab) -> Iterator[str]:
    with raw_addresses(lab, RAW_ADDRESS):
        yield RAW_ADDRESS


FULL = bytes((30, 40)) + bytes(38)
"""One option of forty bytes, of a kind that nobody knows."""


@pytest.mark.parametrize(
    ("port", "options", "kept"),
    [
        pytest.param(3001, NOP * 36, b"", id="36 bytes of NOPs"),
        pytest.param(3002, NOP * 40, b"", id="40 bytes of NOPs"),
        pytest.param(3003, NOP * 18 + MSS_1460 + NOP * 18, MSS_1460, id="MSS among 36 NOPs"),
        pytest.param(3004, MSS_1460 + NOP * 28, MSS_1460 + NOP * 28, id="32 bytes, so that it fits"),
    ],
)
def test_room_for_the_option_is_made_by_dropping_nops(
    lab: RunningLab, raw_address: str, port: int, options: bytes, kept: bytes
) -> None:
    with captured_at_real_servers(lab) as arrived, RawClient(lab, raw_address, port) as client:
        client.connect(options)
        assert client.ask()["client"] == client.name
    (syn,) = syns(arrived)
    assert syn.option_bytes == toa(port) + kept


def toa(port: int) -> bytes:
    """The right option for a port of RAW_ADDRESS."""
    return OPTION_START + port.to_bytes(2, "big") + IPv4Address(RAW_ADDRESS).packed


def test_syn_without_room_goes_without_and_the_next_packet_carries_the_option(lab: RunningLab, raw_address: str) -> None:
    failed = lab.counter("ext", "fullnat_add_toa_fail_len")
    with captured_at_real_servers(lab) as arrived, RawClient(lab, raw_address, 3010) as client:
        client.connect(FULL)
        assert client.ask()["client"] == client.name
    (syn,) = syns(arrived)
    assert syn.option_bytes == FULL
    assert arrived[1].option_bytes == toa(3010)
    assert lab.counter("ext", "fullnat_add_toa_fail_len") - failed == 1


@pytest.mark.parametrize(("toa_entry", "first"), [(1, toa), (0, lambda _: b"")])
def test_forged_option_never_arrives(lab: RunningLab, raw_address: str, toa_entry: int, first: Callable[[int], bytes]) -> None:
    """A client sends the option with another address in its SYN, its ACK and its data, at different places among its options."""
    port = 3020 + toa_entry
    lab.set_tunable("fullnat_toa_entry", toa_entry)
    try:
        with captured_at_real_servers(lab) as arrived, RawClient(lab, raw_address, port) as client:
            client.connect(MSS_1460 + FORGED, FORGED * 2)
            answer = client.ask(NOP * 3 + FORGED + NOP)
    finally:
        lab.set_tunable("fullnat_toa_entry", 1)
    assert answer["client"] == (client.name if toa_entry else None)
    assert [packet.option_bytes for packet in arrived[:3]] == [
        first(port) + MSS_1460 + NOP * 8,
        first(port) + NOP * 16,
        first(port) + NOP * 12,
    ]


@pytest.mark.parametrize("mss_adjust", [1, 0])
def test_option_never_makes_a_packet_larger_than_the_mtu(lab: RunningLab, mss_adjust: int) -> None:
    """A long upload. Its first segments are full and should have the option, until the real server has acknowledged one."""
    failed = lab.counter("ext", "fullnat_add_toa_fail_len")
    lab.set_tunable("fullnat_mss_adjust_entry", mss_adjust)
    try:
        with captured_at_real_servers(lab) as arrived:
            result = lab.script("client", "bulk.py", "upload", str(UPLOAD_BYTES))
    finally:
        lab.set_tunable("fullnat_mss_adjust_entry", 1)
    assert result["got"] == result["expected"]
    full = [packet for packet in arrived if len(packet.raw) == MTU]
    assert max(len(packet.raw) for packet in arrived) == MTU
    assert {next(iter(packet.options), None) for packet in full} == ({KIND} if mss_adjust else {None})
    if not mss_adjust:  # what the kernel has counted is brought in once a second
        lab.wait_until("it is counted", lambda: lab.counter("ext", "fullnat_add_toa_fail_len") > failed)
    assert lab.counter("ext", "fullnat_add_toa_fail_len") - failed <= (0 if mss_adjust else len(full))
