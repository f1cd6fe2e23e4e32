"""What is measured: figures from what tools and the kernel say."""

import pytest

from bench.measures.asking import QUESTION_BYTES, Waits, question
from bench.measures.latency import LATENCY_FROM_SERVER, LATENCY_TO_SERVER, compared
from bench.measures.packets import TCP_PACKETS, UDP_PACKETS, Counted, tcp_reading, udp_reading
from bench.measures.registry import BY_NAME, MEASURES, refusal
from bench.rig.reading import Reading
from bench.rig.topology import REAL_SERVERS, VIPS


def test_names_are_those_of_the_command_line() -> None:
    names = ("connections", "requests", "bulk-to-server", "bulk-from-server", "udp-packets", "tcp-packets")
    assert tuple(BY_NAME) == (*names, "latency-to-server", "latency-from-server")
    assert refusal("requests") == ""
    assert refusal("goodput").startswith("'goodput' is not a measure; the measures are connections, ")


def test_every_measure_is_told_from_the_others_by_its_title() -> None:
    assert len({measure.title for measure in MEASURES}) == len(MEASURES)


class TestPackets:
    """Small packets."""

    TRAFFIC = Reading(0.1, "", 100.0, {"seconds": 2.0, "retransmits": 100, "arrived_share": 0.5})

    def test_datagrams_are_counted_where_they_arrive(self) -> None:
        reading = udp_reading(Counted(self.TRAFFIC, sent=1000, arrived=400))
        assert reading == Reading(200.0, "", 400, {"arrived_share": 0.4})

    def test_segments_are_counted_once_however_often_they_were_sent_and_whatever_a_proxy_made_of_them(self) -> None:
        reading = tcp_reading(Counted(self.TRAFFIC, sent=1000, arrived=7))
        assert reading == Reading(225.0, "", 450, {"arrived_share": 0.45})

    def test_trouble_of_the_traffic_is_trouble_of_the_figure(self) -> None:
        failed = Reading(0.0, "iperf3: unable to connect")
        assert udp_reading(Counted(failed, sent=0, arrived=0)) == Reading(0.0, failed.trouble, 0, {"arrived_share": 0.0})

    def test_a_full_queue_is_a_part_of_what_is_measured(self) -> None:
        assert UDP_PACKETS.may_drop
        assert TCP_PACKETS.may_drop
        assert not BY_NAME["connections"].may_drop


class TestLatency:
    """Small requests beside a bulk stream."""

    def test_a_question_has_the_length_that_the_manual_says(self) -> None:
        for target in (VIPS[0], REAL_SERVERS[1]):
            assert len(question(target)) == QUESTION_BYTES
            assert question(target).endswith(b"\r\n\r\n")

    def test_waits_are_milliseconds(self) -> None:
        assert Waits.of([0.001 * wait for wait in range(1, 102)]) == pytest.approx((101, 51.0, 100.0, 101.0))

    def test_the_wait_beside_the_stream_is_compared_with_the_one_alone(self) -> None:
        reading = compared(Waits(9, 0.5, 1.0, 2.0), Waits(9, 2.0, 4.0, 8.0), Reading(0.75, "iperf3: so"))
        assert (reading.value, reading.trouble, reading.units) == (2.0, "iperf3: so", 0)
        assert reading.details == {
            "beside_p99_ms": 4.0,
            "alone_p50_ms": 0.5,
            "alone_p99_ms": 1.0,
            "times_alone": 4.0,
            "bulk_gbit_per_s": 0.75,
        }

    def test_every_detail_has_a_column(self) -> None:
        details = compared(Waits(9, 0.5, 1.0, 2.0), Waits(9, 2.0, 4.0, 8.0), Reading(0.75)).details
        assert [figure.name for figure in LATENCY_TO_SERVER.details] == list(details)

    def test_stream_and_requests_share_a_shard(self) -> None:
        assert LATENCY_TO_SERVER.shards == LATENCY_FROM_SERVER.shards == 1
