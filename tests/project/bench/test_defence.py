"""The parts of the defence benchmark that need no kernel: its floods, its cases, what it counts, the table."""

import re
from collections.abc import Mapping

import dpkt
import pytest

from appliance.config.loading import parse as parse_config
from appliance.policy.defence import COUNTER_PLACES
from bench.defence.__main__ import parse as parse_options
from bench.defence.load import (
    CASES,
    CONTROL,
    CONTROL_COUNTER,
    COUNTERS,
    DEFENDED,
    QUIET,
    UNDEFENDED,
    Case,
    Counted,
    control_table,
    parse_counter,
)
from bench.defence.report import DefenceResults, as_text
from bench.rig.gateway import configuration
from bench.rig.machine import Machine
from bench.rig.reading import Reading
from bench.rig.topology import (
    BULK_PORT,
    CLIENT,
    HTTP_PORT,
    LOCAL_ADDRESSES,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    UNGUARDED,
    VIPS,
    BenchError,
)
from bench.senders.flood import RATE_MAX_PER_S, SPOOFED_NETWORK
from bench.senders.stray_flood import KINDS, UNUSED_PORT, packets
from bench.senders.stray_flood import parse as parse_flood
from tests.project.bench.refusals import refusal
from tests.support.segments import assert_tcp_checksum

MACHINE = Machine("6.1.0", "a CPU", 2, "3.11.2", 0.1)


# the flooder


@pytest.mark.parametrize("kind", KINDS)
def test_every_packet_is_whole_and_from_an_address_nobody_has(kind: str) -> None:
    made = packets(kind, VIPS[0], 600)
    assert len(made) == 600
    assert {len(raw) for raw in made} == {dpkt.ip.IP(raw).len for raw in made}
    assert {raw[12:16] for raw in made} == {host.packed for host in SPOOFED_NETWORK.hosts()}
    assert {raw[16:20] for raw in made} == {bytes(map(int, VIPS[0].split(".")))}


def test_datagrams_go_to_the_port_of_the_web_service() -> None:
    for raw in packets("udp", VIPS[0], 20):
        datagram = dpkt.ip.IP(raw).data
        assert (type(datagram), datagram.dport, datagram.ulen) == (dpkt.udp.UDP, HTTP_PORT, len(datagram))


def test_segments_open_a_connection_to_a_port_that_is_no_service() -> None:
    for raw in packets("tcp", VIPS[0], 20):
        assert_tcp_checksum(raw)
        segment = dpkt.ip.IP(raw).data
        assert (segment.flags, segment.dport) == (dpkt.tcp.TH_SYN, UNUSED_PORT)
    assert UNUSED_PORT not in {service.port for service in parse_config(configuration(), "bench.toml").services}
    assert UNUSED_PORT != BULK_PORT


def test_two_fragments_make_a_segment_to_the_service() -> None:
    made = packets("fragment", VIPS[0], 600)
    identifications = set()
    for first, last in zip(made[::2], made[1::2], strict=True):
        one, other = dpkt.ip.IP(first), dpkt.ip.IP(last)
        assert (one.mf, one.offset, other.mf, other.offset * 8) == (1, 0, 0, len(first) - 20)
        assert (one.id, one.src, one.p) == (other.id, other.src, other.p)
        identifications.add(one.id)
        whole = dpkt.ip.IP(src=one.src, dst=one.dst, p=one.p, data=first[20:] + last[20:])
        whole.len = 20 + len(first[20:] + last[20:])
        assert_tcp_checksum(bytes(whole))
        segment = dpkt.ip.IP(bytes(whole)).data
        assert (segment.dport, segment.flags) == (HTTP_PORT, dpkt.tcp.TH_ACK)
    assert len(identifications) == 300
    assert 0 not in identifications, "the kernel would fill it in, for each of the two"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["icmp", VIPS[0], "--rate", "10", "--seconds", "1"], "invalid choice: 'icmp'"),
        (["udp", "192.168.0.1", "--rate", "10", "--seconds", "1"], "192.168.0.1 is not a test address"),
        (["udp", "8.8.8.8", "--rate", "10", "--seconds", "1"], "8.8.8.8 is not a test address"),
        (["udp", "example", "--rate", "10", "--seconds", "1"], "'example'"),
        (["udp", VIPS[0], "--rate", "0", "--seconds", "1"], "rate or seconds out of range"),
        (["udp", VIPS[0], "--rate", str(RATE_MAX_PER_S + 1), "--seconds", "1"], "rate or seconds out of range"),
        (["udp", VIPS[0], "--rate", "10", "--seconds", "61"], "rate or seconds out of range"),
        (["udp", VIPS[0], "--rate", "10", "--seconds", "nan"], "rate or seconds out of range"),
    ],
)
def test_a_flood_without_bounds_or_of_a_real_address_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refusal(capsys, parse_flood, arguments)


def test_a_bounded_flood_of_a_test_address_is_taken() -> None:
    options = parse_flood(["fragment", UNGUARDED, "--rate", "10", "--seconds", "0.5"])
    assert (options.kind, options.target, options.seconds) == ("fragment", UNGUARDED, 0.5)


# the cases


def test_each_flood_is_compared_with_its_own_control() -> None:
    assert [(case.kind, case.against) for case in CASES[1:]] == [
        (kind, against) for kind in KINDS for against in (DEFENDED, UNDEFENDED, CONTROL)
    ]
    assert CASES[0] is QUIET
    assert set(COUNTERS) == set(KINDS)
    assert set(COUNTERS.values()) == set(COUNTER_PLACES)


def test_the_control_floods_an_address_of_nobody() -> None:
    assert UNGUARDED not in {*VIPS, *NAT_VIPS, *LOCAL_ADDRESSES, *NAT_LOCAL_ADDRESSES, CLIENT}
    assert UNGUARDED.rpartition(".")[0] == VIPS[0].rpartition(".")[0]
    assert re.findall(r"ip daddr (\S+)", control_table()) == [UNGUARDED]


def test_the_controls_counter_is_read_from_nfts_listing() -> None:
    listing = "table ip bench_control {\n\tcounter control {\n\t\tpackets 4321 bytes 99999\n\t}\n}\n"
    assert parse_counter(listing) == 4321
    with pytest.raises(BenchError, match="no counter"):
        parse_counter("table ip bench_control { }")


# what was counted


def case_of(kind: str, against: str) -> Case:
    return next(case for case in CASES if (case.kind, case.against) == (kind, against))


def counted(requests: float, sent: int = 0, counts: Mapping[str, int] | None = None, trouble: str = "") -> Counted:
    return Counted(
        Reading(requests, trouble), sent, sent / 4, {**dict.fromkeys((*COUNTER_PLACES, CONTROL_COUNTER), 0), **(counts or {})}
    )


def right(case: Case, requests: float, sent: int = 1000) -> Counted:
    """One measurement in which the gateway counted as it should."""
    counter = {DEFENDED: COUNTERS.get(case.kind, ""), CONTROL: CONTROL_COUNTER}.get(case.against)
    return counted(requests, sent if case.kind else 0, {counter: sent} if counter else {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_each_case_is_to_count(case: Case) -> None:
    assert right(case, 1.0).difference(case) == {}


@pytest.mark.parametrize(
    ("against", "counts", "difference"),
    [
        (DEFENDED, {"defence_udp_drop": 998}, {"defence_udp_drop": -2}),
        (DEFENDED, {"defence_udp_drop": 1000, "defence_tcp_drop": 1}, {"defence_tcp_drop": 1}),
        (DEFENDED, {}, {"defence_udp_drop": -1000}),
        (UNDEFENDED, {"defence_udp_drop": 1000}, {"defence_udp_drop": 1000}),
        (CONTROL, {"control": 1003, "defence_ip_frag_drop": 5}, {"control": 3, "defence_ip_frag_drop": 5}),
    ],
)
def test_whatever_differs_is_told(against: str, counts: dict[str, int], difference: dict[str, int]) -> None:
    assert counted(1.0, 1000, counts).difference(case_of("udp", against)) == difference


# the results


def results_of(quiet: list[float], shares: dict[str, float]) -> DefenceResults:
    """As many rounds; under each kind of flood the defence keeps that share of the requests, its absence half of them."""
    results = DefenceResults()
    for requests in quiet:
        results.add(QUIET, counted(requests))
        for kind, share in shares.items():
            results.add(case_of(kind, DEFENDED), right(case_of(kind, DEFENDED), requests * share))
            results.add(case_of(kind, UNDEFENDED), right(case_of(kind, UNDEFENDED), requests * 0.5))
            results.add(case_of(kind, CONTROL), right(case_of(kind, CONTROL), requests * 0.9))
    return results


def test_a_share_is_of_the_same_round() -> None:
    # The machine halves its speed after the first round.
    results = results_of([10_000, 5000, 5000], dict.fromkeys(KINDS, 0.75))
    assert results.ratio(case_of("tcp", DEFENDED), QUIET) == (0.75, 0.75, 0.75)


def test_a_share_of_nothing_is_none() -> None:
    assert results_of([0.0], dict.fromkeys(KINDS, 1.0)).ratio(case_of("tcp", DEFENDED), QUIET) is None


@pytest.mark.parametrize(
    ("shares", "outcome"),
    [({"udp": 0.81, "fragment": 0.8, "tcp": 1.0}, "reached"), ({"udp": 0.9, "fragment": 0.79, "tcp": 0.9}, "missed")],
)
def test_the_goal_is_reached_when_every_median_share_is_high_enough(shares: dict[str, float], outcome: str) -> None:
    assert results_of([1000.0], shares).goal_outcome() == outcome


def test_goal_that_was_not_measured_is_missed() -> None:
    assert results_of([1000.0], {"udp": 1.0}).goal_outcome() == "missed"


def test_goal_is_not_decided_by_measurements_with_errors() -> None:
    results = results_of([1000.0], dict.fromkeys(KINDS, 1.0))
    results.add(case_of("udp", UNDEFENDED), counted(1.0, trouble="wrk: 3 timeout errors"))
    assert results.goal_outcome() == "reached", "without the defence errors are to be expected"
    results.add(QUIET, counted(1.0, trouble="wrk: 3 timeout errors"))
    assert results.goal_outcome() == "undecided"


def test_the_printed_table() -> None:
    results = results_of([10_000, 20_000], {"udp": 0.9, "fragment": 0.8, "tcp": 0.72})
    lines = as_text(MACHINE, 2, 4, 2, results).splitlines()
    assert lines[0] == "kernel 6.1.0, a CPU, 2 cores, Python 3.11.2"
    assert "the 2 cores also run the flooder, the client and the real servers" in lines[2]
    rows = {tuple(line.split()[:3]): line.split() for line in lines}
    assert rows["udp", "defence", "on"][-10:] == [
        *("250", "13,500", "(9,000..18,000)", "0.90", "(0.90..0.90)", "1.00", "(1.00..1.00)", "2,000", "2,000", "0"),
    ]
    assert rows["-", "no", "flood"][-7:] == ["15,000", "(10,000..20,000)", "-", "-", "0", "0", "0"]
    assert rows["tcp", "control:", "to"][-6:] == ["0.90", "(0.90..0.90)", "-", "2,000", "2,000", "0"]
    assert rows["udp", "defence", "off"][-3:] == ["2,000", "0", "0"]
    assert lines[-1] == "goal, at least 0.8 of the requests without a flood while the defence is on: missed"


def test_what_differs_and_what_went_wrong_is_listed() -> None:
    results = results_of([1000.0], dict.fromkeys(KINDS, 1.0))
    case = case_of("udp", DEFENDED)
    results.add(case, counted(900.0, 1000, {"defence_udp_drop": 990}, "wrk: 3 timeout errors"))
    assert results.differences() == ["udp flood, defence on, round 2: 1000 sent, but defence_udp_drop differs by -10"]
    text = as_text(MACHINE, 2, 4, 2, results)
    assert f"counters that differ from what was sent:\n  {results.differences()[0]}\n" in text
    assert text.endswith("measurements with errors:\n  udp flood, defence on, round 2: wrk: 3 timeout errors\n")


# the command line


def test_the_thorough_run_is_the_default() -> None:
    quick, thorough = parse_options(["--quick"]), parse_options([])
    assert thorough.rounds * thorough.seconds > quick.rounds * quick.seconds
    assert (quick.shards, parse_options(["--shards", "4"]).shards) == (2, 4)
    with pytest.raises(SystemExit):
        parse_options(["--shards", "0"])
