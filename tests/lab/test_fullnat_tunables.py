"""Each tunable of FULLNAT that changes packets, written while traffic flows: the packets on the wire change with it."""

from collections import Counter
from collections.abc import Iterator

import dpkt
import pytest

from tests.lab.capture import Capture, Captured
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.idle_sessions import IdleSessions
from tests.lab.raw_client import RawClient, raw_addresses

MSS, TIMESTAMP = dpkt.tcp.TCP_OPT_MSS, dpkt.tcp.TCP_OPT_TIMESTAMP
KIND = 254
RAW_ADDRESS = "198.51.100.98"


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", "2")


def opened(lab: RunningLab) -> tuple[Captured, Captured, Captured]:
    """One connection: its SYN and its request as they arrived at the real server, and its SYN-ACK as it arrived at the client."""
    with Capture(lab, "client") as at_client, Capture(lab, "rs1") as at_rs1, Capture(lab, "rs2") as at_rs2:
        assert lab.script("client", "http_load.py", "1", "1")["ok"] == 1
        at_server = at_rs1.take_arrived() + at_rs2.take_arrived()
        syn_ack = next(packet for packet in at_client.take_arrived() if packet.seen.flags == "SA")
    syn = next(packet for packet in at_server if packet.seen.flags == "S")
    request = next(packet for packet in at_server if packet.payload_bytes)
    return syn, request, syn_ack


def test_fullnat_timestamp_remove_entry(lab: RunningLab) -> None:
    """An option that the SYN does not offer is not used later."""
    with lab.changed(fullnat_timestamp_remove_entry=1):
        assert [TIMESTAMP in packet.options for packet in opened(lab)] == [False, False, False]
    with lab.changed(fullnat_timestamp_remove_entry=0):
        assert [TIMESTAMP in packet.options for packet in opened(lab)] == [True, True, True]


@pytest.mark.parametrize(("mss_adjust", "mss"), [(1, 1452), (0, 1460)])
def test_fullnat_mss_adjust_entry(lab: RunningLab, mss_adjust: int, mss: int) -> None:
    with lab.changed(fullnat_mss_adjust_entry=mss_adjust):
        syn, _, syn_ack = opened(lab)
    assert int.from_bytes(syn_ack.options[MSS], "big") == mss
    assert int.from_bytes(syn.options[MSS], "big") == 1460, "what the client says is never changed"


def test_fullnat_toa_entry(lab: RunningLab) -> None:
    with lab.changed(fullnat_toa_entry=1):
        assert [KIND in packet.options for packet in opened(lab)] == [True, True, False]
    with lab.changed(fullnat_toa_entry=0):
        assert [KIND in packet.options for packet in opened(lab)] == [False, False, False]


@pytest.mark.parametrize("kind", [200, 253, 254])
def test_fullnat_toa_kind(lab: RunningLab, kind: int) -> None:
    with lab.changed(fullnat_toa_kind=kind):
        syn, request, _ = opened(lab)
    for packet in (syn, request):
        assert next(iter(packet.options)) == kind
        assert packet.options[kind][2:] == bytes((198, 51, 100, 2))


def test_fullnat_lport_min_and_max(lab: RunningLab) -> None:
    with lab.changed(fullnat_lport_max=6003, fullnat_lport_min=6000):
        syn, request, _ = opened(lab)
    assert {packet.source_port for packet in (syn, request)} <= {6000, 6001, 6002, 6003}
    syn, _, _ = opened(lab)
    assert syn.source_port not in {6000, 6001, 6002, 6003}, "the whole range again"


@pytest.mark.parametrize("conn_reused", [1, 0])
def test_fullnat_conn_reused_entry(lab: RunningLab, conn_reused: int) -> None:
    """A client uses a port again: its numbers begin beyond those of the connection before, or are shifted by the same amount as
    those."""
    first, second = 1_000, 5_000_000
    with (
        lab.changed(fullnat_conn_reused_entry=conn_reused),
        raw_addresses(lab, RAW_ADDRESS),
        Capture(lab, "rs1") as at_rs1,
        Capture(lab, "rs2") as at_rs2,
    ):
        for seq in (first, second):
            with RawClient(lab, RAW_ADDRESS, 3000 + conn_reused, seq=seq) as client:
                client.connect()
                client.ask()
        packets = at_rs1.take_arrived() + at_rs2.take_arrived()
    before, after = (packet.seen for packet in packets if packet.seen.flags == "S")
    assert before.source == after.source, "the same session"
    assert (after.seq - before.seq == second - first) == (not conn_reused)


@pytest.mark.parametrize("expire_rst", [1, 0])
def test_conn_expire_tcp_rst(lab: RunningLab, expire_rst: int) -> None:
    """An idle session ends with a RST to each end, which both accept, or without any packet."""
    with (
        lab.changed(conn_expire_tcp_rst=expire_rst, tcp_timeout_established=2000),
        Capture(lab, "client") as at_client,
        Capture(lab, "rs1") as at_rs1,
        Capture(lab, "rs2") as at_rs2,
        IdleSessions(lab, 2) as idle,
    ):
        lab.wait_until("the sessions are gone", lambda: "ESTABLISHED" not in lab.api("/stats/ip_vs_conn"))
        resets = Counter[str]()

        def have_come() -> bool:
            for side, captures in {"client": (at_client,), "real servers": (at_rs1, at_rs2)}.items():
                resets[side] += sum(packet.seen.flags == "R" for capture in captures for packet in capture.take_arrived())
            return min(resets.values()) >= 2 * expire_rst

        lab.wait_until("both ends are told", have_come)
        endings = idle.stop(ended=2 * expire_rst)
        have_come()
    assert resets == {"client": 2 * expire_rst, "real servers": 2 * expire_rst}
    assert list(endings.values()) == ["reset" if expire_rst else "alive"] * 2
