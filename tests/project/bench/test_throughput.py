"""The parts of the benchmark that need no kernel: what it reads, how it counts, in which order it goes, what it prints."""

import itertools
import json
import tomllib
from collections import Counter
from typing import Any

import pytest

from appliance.config.loading import load, parse
from appliance.lab.plan import CLIENT as LAB_CLIENT
from appliance.lab.plan import CLIENT_NETWORK as LAB_CLIENT_NETWORK
from appliance.lab.plan import make_plan
from bench.rig import rules
from bench.rig.checks import wrong_answers, wrong_counts
from bench.rig.counters import QueueCount, Snapshot, growth, parse_netstat, parse_queues
from bench.rig.gateway import configuration
from bench.rig.load import FIGURES, Reading, parse_iperf3, parse_wrk, wrk_script
from bench.rig.machine import Machine, cpu_model
from bench.rig.results import Results, rotated, schedule, spread
from bench.rig.topology import (
    CLIENT,
    CLIENT_INTERFACE,
    CLIENT_NETWORK,
    LAB_CONFIG,
    LOCAL_ADDRESSES,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    QUEUED_REAL_SERVERS,
    REAL_SERVERS,
    SERVER_INTERFACE,
    VIPS,
    BenchError,
)
from bench.rig.ways import APPLIANCE, BARE_LOOP, NAT, PLAIN, WAYS
from bench.throughput.__main__ import parse as parse_options
from bench.throughput.report import Setup, as_json, as_text, goal_outcome

CONNECTIONS, KEEP_ALIVE = FIGURES[0].name, FIGURES[1].name

WRK_OUTPUT = """\
Running 2s test @ http://203.0.113.10:8081/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.51ms    1.20ms  20.11ms   80.00%
  11000 requests in 2.00s, 1.70MB read
RESULT {"requests": 11000, "duration_us": 2000000, "connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
"""


def wrk_output(**errors: int) -> str:
    """The output above with other numbers of errors."""
    head, _, result = WRK_OUTPUT.partition("RESULT ")
    return f"{head}RESULT {json.dumps(json.loads(result) | errors)}\n"


# wrk and iperf3


def test_wrk_rate_is_requests_over_the_time_wrk_took() -> None:
    assert parse_wrk(WRK_OUTPUT) == Reading(5500.0, "")


@pytest.mark.parametrize(
    ("errors", "trouble"),
    [
        ({"connect": 3}, "wrk: 3 connect errors"),
        ({"status": 7, "timeout": 1}, "wrk: 1 timeout errors, 7 status errors"),
    ],
)
def test_wrk_errors_are_trouble(errors: dict[str, int], trouble: str) -> None:
    assert parse_wrk(wrk_output(**errors)) == Reading(5500.0, trouble)


def test_wrk_that_got_nowhere_is_an_error_with_its_words() -> None:
    with pytest.raises(BenchError, match="Connection refused"):
        parse_wrk("unable to connect to 203.0.113.10:8081 Connection refused\n")


def test_wrk_script_prints_what_the_parser_reads() -> None:
    template = next(line for line in wrk_script(VIPS[:2]).splitlines() if "string.format" in line)
    printed = template.split("'")[1]
    arguments = template.split("'")[2].strip(", )").split(", ")
    values = {"summary.requests": 10, "summary.duration": 1_000_000, "errors.connect": 1, "errors.read": 2}
    values |= {"errors.write": 3, "errors.timeout": 4, "errors.status": 5}
    reading = parse_wrk(printed % tuple(values[argument] for argument in arguments))
    wanted = "wrk: 1 connect errors, 2 read errors, 3 write errors, 4 timeout errors, 5 status errors"
    assert reading == Reading(10.0, wanted)


def test_wrk_script_names_every_target() -> None:
    script = wrk_script(("192.0.2.101", "192.0.2.102"))
    assert '{ "192.0.2.101", "192.0.2.102" }' in script


def test_iperf3_figure_is_what_arrived() -> None:
    end = {"sum_sent": {"bits_per_second": 2.5e9}, "sum_received": {"bits_per_second": 2.25e9}}
    assert parse_iperf3(json.dumps({"end": end})) == Reading(2.25)


def test_iperf3_error_is_trouble_and_no_figure() -> None:
    answer = {"start": {}, "end": {}, "error": "the server is busy running a test. try again later"}
    assert parse_iperf3(json.dumps(answer)) == Reading(0.0, "iperf3: the server is busy running a test. try again later")


def test_iperf3_without_json_is_an_error() -> None:
    with pytest.raises(BenchError, match="no JSON: iperf3: unrecognized option"):
        parse_iperf3("iperf3: unrecognized option '--jsn'")


def test_second_trouble_is_put_behind_the_first() -> None:
    assert Reading(1.0).with_trouble("a").with_trouble("b") == Reading(1.0, "a; b")


# what the kernel counts


def test_queue_counters_are_read_from_the_kernels_columns() -> None:
    text = "    0   7001     0 2 65535     3     4   56915  1\n 1001   7002    12 2 65535     0     0      17  1\n"
    assert parse_queues(text) == {0: QueueCount(56915, 7), 1001: QueueCount(17, 0)}


def test_growth_counts_a_new_queue_from_nothing_and_forgets_one_that_went() -> None:
    before = {0: QueueCount(100, 1), 5: QueueCount(9, 0)}
    after = {0: QueueCount(150, 3), 1000: QueueCount(20, 0)}
    assert growth(before, after) == {0: QueueCount(50, 2), 1000: QueueCount(20, 0)}


def test_netstat_values_are_found_by_the_names_above_them() -> None:
    text = "TcpExt: SyncookiesSent TCPSynRetrans\nTcpExt: 1 22\nIpExt: InNoRoutes InOctets\nIpExt: 3 -1\n"
    assert parse_netstat(text) == {"SyncookiesSent": 1, "TCPSynRetrans": 22, "InNoRoutes": 3, "InOctets": -1}


# order of rounds


def test_every_measurement_is_made_once_a_round() -> None:
    turns = list(schedule(3, ("f", "g"), ("a", "b", "c", "d")))
    assert Counter(turns) == Counter(itertools.product(range(3), ("f", "g"), ("a", "b", "c", "d")))


def test_ways_of_one_figure_are_neighbours_and_each_round_starts_with_the_next_way() -> None:
    turns = list(schedule(2, ("f", "g"), ("a", "b", "c")))
    assert [f"{number}{figure}{way}" for number, figure, way in turns] == [
        *("0fa", "0fb", "0fc", "0ga", "0gb", "0gc"),
        *("1fb", "1fc", "1fa", "1gb", "1gc", "1ga"),
    ]


def test_rotation_by_more_than_the_length_begins_again() -> None:
    assert rotated("abcd", 6) == ["c", "d", "a", "b"]


def test_pair_of_addresses_changes_from_round_to_round_where_there_are_two_pairs() -> None:
    assert [APPLIANCE.pair_of_round(number) for number in range(3)] == [VIPS[:2], VIPS[2:], VIPS[:2]]
    assert [PLAIN.pair_of_round(number) for number in range(2)] == [REAL_SERVERS, REAL_SERVERS]


# medians and ratios


def results(**values: list[float]) -> Results:
    """New connections/s and keep-alive requests/s of some ways, by name, a value for each round."""
    made = Results()
    for way, series in values.items():
        for value in series:
            made.add(CONNECTIONS, way, Reading(value))
            made.add(KEEP_ALIVE, way, Reading(value))
    return made


def test_spread_is_median_and_ends() -> None:
    assert spread([5.0, 1.0, 9.0, 2.0]) == (3.5, 1.0, 9.0)
    assert spread([]) is None


def test_ratio_is_taken_within_each_round() -> None:
    # The machine halves its speed after the first round; the ratio of the medians would be 0.5, of neighbours it is 0.9.
    measured = results(appliance=[900.0, 450.0, 450.0], bare_loop=[1000.0, 500.0, 500.0])
    assert measured.ratio(CONNECTIONS, "appliance", "bare_loop") == (0.9, 0.9, 0.9)


def test_ratio_of_medians_would_be_something_else() -> None:
    measured = results(appliance=[100.0, 300.0, 20.0], bare_loop=[200.0, 400.0, 20.0])
    assert measured.ratio(CONNECTIONS, "appliance", "bare_loop") == (0.75, 0.5, 1.0)


def test_ratio_leaves_out_rounds_without_a_base() -> None:
    measured = results(appliance=[50.0, 80.0], bare_loop=[0.0, 100.0])
    assert measured.ratio(CONNECTIONS, "appliance", "bare_loop") == (0.8, 0.8, 0.8)
    assert results(appliance=[50.0], bare_loop=[0.0]).ratio(CONNECTIONS, "appliance", "bare_loop") is None
    assert results(appliance=[50.0]).ratio(CONNECTIONS, "appliance", "bare_loop") is None


@pytest.mark.parametrize(("appliance", "outcome"), [([85.0, 86.0], "reached"), ([84.0, 85.0], "missed"), ([], "missed")])
def test_the_goal_is_reached_when_every_median_ratio_is_high_enough(appliance: list[float], outcome: str) -> None:
    assert goal_outcome(results(appliance=appliance, bare_loop=[100.0, 100.0])) == outcome


def test_goal_is_not_decided_by_measurements_with_errors() -> None:
    measured = results(appliance=[90.0], bare_loop=[100.0])
    measured.add(KEEP_ALIVE, BARE_LOOP.name, Reading(10.0, "wrk: 3 timeout errors"))
    assert goal_outcome(measured) == "undecided"


# what is printed

SETUP = Setup(Machine("6.1.0", "Some CPU", 2, "3.11.2", 0.25), shards=2, rounds=2, seconds=5)


@pytest.fixture
def measured() -> Results:
    """Two rounds of everything; the NAT's second one had errors in its first figure."""
    made = Results()
    for figure in FIGURES:
        for way, values in (
            (PLAIN, (20000, 10000)),
            (NAT, (15000, 7000)),
            (BARE_LOOP, (12000, 6000)),
            (APPLIANCE, (10800, 5400)),
        ):
            for number, value in enumerate(values):
                is_bad = (figure.name, way, number) == (CONNECTIONS, NAT, 1)
                made.add(figure.name, way.name, Reading(float(value), "wrk: 3 connect errors" if is_bad else ""))
    return made


def test_the_printed_table(measured: Results) -> None:
    lines = as_text(SETUP, measured).splitlines()
    assert lines[0] == "kernel 6.1.0, Some CPU, 2 cores, Python 3.11.2"
    assert lines[1].startswith("shards: 2, rounds: 2, seconds a measurement: 5; interleaved")
    rows = {line.partition("  ")[0]: line.split()[-8:] for line in lines}
    assert rows["appliance"][:2] == ["8,100", "(5,400..10,800)"]
    assert rows["nft DNAT+SNAT"][:2] == ["11,000", "(7,000..15,000)!"]
    assert rows["nft DNAT+SNAT / plain routing"][:2] == ["0.72", "(0.70..0.75)"]
    assert rows["appliance / bare queue loop"][:2] == ["0.90", "(0.90..0.90)"]
    assert "goal, appliance / bare queue loop at least 0.85 in new connections/s and keep-alive requests/s: reached" in lines
    assert lines[-1] == "  new connections/s, nft DNAT+SNAT, round 2: wrk: 3 connect errors"


def test_table_without_errors_speaks_of_none() -> None:
    text = as_text(SETUP, results(appliance=[90.0], bare_loop=[100.0]))
    assert "!" not in text
    assert "errors" not in text


def test_busy_machine_is_mentioned() -> None:
    busy = SETUP._replace(machine=SETUP.machine._replace(load_at_start=3.5))
    measured = results(appliance=[90.0], bare_loop=[100.0])
    assert "the load average was 3.5 at the start" in as_text(busy, measured)
    assert "load average" not in as_text(SETUP, measured)


def test_json_has_every_round_and_every_ratio(measured: Results) -> None:
    data: dict[str, Any] = json.loads(json.dumps(as_json(SETUP, measured)))
    assert data["machine"] == {"kernel": "6.1.0", "cpu": "Some CPU", "cores": 2, "python": "3.11.2", "load_at_start": 0.25}
    assert data["figures"][CONNECTIONS]["nat"] == {
        "median": 11000.0,
        "low": 7000.0,
        "high": 15000.0,
        "values": [15000.0, 7000.0],
        "troubles": ["", "wrk: 3 connect errors"],
    }
    assert data["ratios"][KEEP_ALIVE]["appliance/bare_loop"] == {"median": 0.9, "low": 0.9, "high": 0.9}
    assert set(data["ratios"][CONNECTIONS]) == {"nat/plain", "bare_loop/plain", "appliance/plain", "appliance/bare_loop"}
    assert data["goal"]["outcome"] == "reached"


def test_the_cpu_model_is_read_from_cpuinfo() -> None:
    assert cpu_model(["processor\t: 0", "model name\t: Some CPU @ 3: x", "model name\t: other"]) == "Some CPU @ 3: x"


# is a way what it says?

BOTH = ("rs1", "rs2")
BEFORE = Snapshot({0: QueueCount(10, 0), 1: QueueCount(10, 0)}, received=1000, tracked=5)


def after(queues: dict[int, int], received: int, tracked: int = 0) -> Snapshot:
    """BEFORE, and then so many packets in these queues, packets received, connections tracked."""
    counts = {number: BEFORE.queues.get(number, QueueCount(0, 0)) for number in {*BEFORE.queues, *queues}}
    grown = {number: count._replace(packets=count.packets + queues.get(number, 0)) for number, count in counts.items()}
    return Snapshot(grown, BEFORE.received + received, BEFORE.tracked + tracked)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_answers_that_fit_the_way_are_accepted(way: Any) -> None:
    assert list(wrong_answers(way, [f"{name} {peer}" for name in BOTH for peer in way.peers])) == []


def test_a_real_server_without_a_request_is_named() -> None:
    assert list(wrong_answers(PLAIN, [f"rs1 {CLIENT}"])) == ["rs2 got no request"]


def test_a_peer_that_the_way_does_not_have_is_named() -> None:
    answers = [f"rs1 {CLIENT}", f"rs2 {LOCAL_ADDRESSES[1]}"]
    assert list(wrong_answers(PLAIN, answers)) == [f"a real server saw {LOCAL_ADDRESSES[1]}, not {CLIENT}"]
    assert list(wrong_answers(APPLIANCE, answers)) == [f"a real server saw {CLIENT}, not {' or '.join(LOCAL_ADDRESSES)}"]


@pytest.mark.parametrize(
    ("way", "queues", "tracked"),
    [(PLAIN, {}, 0), (PLAIN, {}, -3), (NAT, {}, 8), (BARE_LOOP, {1000: 50, 1001: 48}, 0), (APPLIANCE, {0: 50, 1: 48}, 0)],
)
def test_counts_that_fit_the_way_are_accepted(way: Any, queues: dict[int, int], tracked: int) -> None:
    assert list(wrong_counts(way, 2, BEFORE, after(queues, 100, tracked))) == []


@pytest.mark.parametrize(
    ("way", "queues", "tracked", "complaint"),
    [
        (PLAIN, {}, 4, "4 connections were tracked by the kernel"),
        (NAT, {}, 0, "0 connections were tracked by the kernel"),
        (PLAIN, {1: 3}, 0, "packets went through queues [1], not none"),
        (BARE_LOOP, {1000: 98}, 0, "packets went through queues [1000], not [1000, 1001]"),
        (BARE_LOOP, {0: 50, 1: 48}, 0, "packets went through queues [0, 1], not [1000, 1001]"),
        (BARE_LOOP, {1000: 50, 1001: 48, 1: 2}, 0, "packets went through queues [1, 1000, 1001], not [1000, 1001]"),
        (APPLIANCE, {0: 28, 1: 27}, 0, "only 55 of the 100 packets that came in were queued"),
    ],
)
def test_counts_that_contradict_the_way_are_named(way: Any, queues: dict[int, int], tracked: int, complaint: str) -> None:
    assert list(wrong_counts(way, 2, BEFORE, after(queues, 100, tracked))) == [complaint]


# rulesets and configuration


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_bare_loop_queues_both_directions_to_every_shard(shards: int, native: bool) -> None:
    text = rules.queue_table(shards, native=native)
    addresses = ", ".join(QUEUED_REAL_SERVERS)
    forward, reply = (line for line in text.splitlines() if addresses in line)
    assert f"ip daddr {{ {addresses} }}" in forward
    assert f"ip saddr {{ {addresses} }}" in reply
    if shards > 1:
        assert "jhash ip saddr . tcp sport" in forward
        # The same value for both directions: mirrored fields, everything behind them equal.
        assert reply.partition("jhash ")[2] == forward.partition("jhash ")[2].replace(
            "ip saddr . tcp sport", "ip daddr . tcp dport"
        )
    queues = [str(rules.QUEUE_BASE + shard) for shard in range(shards)]
    queueing = text if native else rules.iptables_rules(shards)
    words = queueing.split()
    option = "num" if native else "--queue-num"
    assert [words[at + 1] for at, word in enumerate(words) if word == option] == queues
    for shard in range(shards):
        assert f"chain shard{shard} {{" in text


def test_compat_marks_are_queued_by_the_mark_that_was_set() -> None:
    set_marks = [line.split()[-1] for line in rules.queue_table(4, native=False).splitlines() if "meta mark set" in line]
    read_marks = [line.split("--mark ")[1].split()[0] for line in rules.iptables_rules(4).splitlines() if "--mark" in line]
    assert set_marks == read_marks
    assert len(set(set_marks)) == 4
    assert all(int(mark, 16) & 0xFF000000 == 0 for mark in set_marks)  # those bits are the appliance's


def test_nat_uses_the_addresses_the_check_expects() -> None:
    text = rules.nat_table()
    assert [f"{vip} : {local}" in text for vip, local in zip(NAT_VIPS, NAT_LOCAL_ADDRESSES, strict=True)] == [True] * 4
    assert f"{{ 0 : {REAL_SERVERS[0]}, 1 : {REAL_SERVERS[1]} }}" in text
    assert NAT.peers == NAT_LOCAL_ADDRESSES


def test_appliances_configuration_serves_what_the_ways_connect_to() -> None:
    config = parse(configuration(), "bench.toml")
    served = {(str(service.vip), service.port): service for service in config.services}
    assert set(served) == {*((vip, 8081) for vip in VIPS), (VIPS[0], 5201)}
    assert [str(server.address) for server in served[VIPS[2], 8081].real_servers] == list(REAL_SERVERS)
    assert [str(server.address) for server in served[VIPS[0], 5201].real_servers] == [REAL_SERVERS[0]]
    assert [str(address) for address in config.local_addresses["default"]] == list(LOCAL_ADDRESSES)


def test_our_network_is_the_one_the_lab_makes_of_the_shipped_configuration() -> None:
    plan = make_plan(load(LAB_CONFIG))
    assert (plan.client_interface, plan.server_interface) == (CLIENT_INTERFACE, SERVER_INTERFACE)
    assert (str(LAB_CLIENT.ip), str(LAB_CLIENT_NETWORK)) == (CLIENT, CLIENT_NETWORK)
    own = [str(address.address.ip) for role in ("rs1", "rs2") for address in plan.hosts[role].addresses]
    assert own == list(REAL_SERVERS)
    api = tomllib.loads(LAB_CONFIG.read_text())["api"]["listen"]
    assert parse(configuration(), "bench.toml").api.listen == tuple(api)  # where the lab asks whether the appliance is ready


def test_no_address_has_two_uses() -> None:
    every = (*REAL_SERVERS, *QUEUED_REAL_SERVERS, *VIPS, *LOCAL_ADDRESSES, *NAT_VIPS, *NAT_LOCAL_ADDRESSES, CLIENT)
    assert len(set(every)) == len(every)


# command line


def test_quick_is_the_default_of_two_options_and_both_may_be_given() -> None:
    def sizes(*arguments: str) -> tuple[int, int, int]:
        options = parse_options(arguments)
        return options.rounds, options.seconds, options.shards

    assert sizes() == (5, 5, 2)
    assert sizes("--quick") == (2, 2, 2)
    assert sizes("--quick", "--rounds", "3", "--shards", "4") == (3, 2, 4)


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--seconds", "11"], ["--shards", "-1"], ["--shards", "two"]])
def test_sizes_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(arguments)
    assert "is not a number from" in capsys.readouterr().err
