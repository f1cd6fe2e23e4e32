"""What the programs share and needs no kernel: what tools print, what the kernel counts, CPU time, medians and turns."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench.rig.counters import InterfaceCount, QueueCount, growth, parse_netstat, parse_queues
from bench.rig.cpu import ENVIRONMENT, CpuMeter, CpuTime, joining, machine_us, mount_point, usage_us
from bench.rig.iperf3 import parse_iperf3
from bench.rig.machine import cpu_model
from bench.rig.processes import running
from bench.rig.reading import Reading
from bench.rig.results import rotated, spread
from bench.rig.topology import VIPS, BenchError, Site
from bench.rig.wrk import parse_wrk, wrk_script

WRK_RESULT = {"requests": 11000, "duration_us": 2000000, "p50_us": 4500, "p99_us": 20110}
WRK_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
WRK_DETAILS = {"p50_ms": 4.5, "p99_ms": 20.11}


def wrk_output(**errors: int) -> str:
    """What wrk prints, with other numbers of errors."""
    head = "Running 2s test @ http://203.0.113.10:8081/\n  2 threads and 64 connections\n  11000 requests in 2.00s, 1.70MB read\n"
    return f"{head}RESULT {json.dumps(WRK_RESULT | WRK_ERRORS | errors)}\n"


class TestWrk:
    """Its command and its output."""

    def test_a_rate_is_requests_over_the_time_it_took(self) -> None:
        assert parse_wrk(wrk_output()) == Reading(5500.0, "", 11000, WRK_DETAILS | {"errors": 0})

    @pytest.mark.parametrize(
        ("errors", "trouble"),
        [
            ({"connect": 3}, "wrk: 3 connect errors"),
            ({"status": 7, "timeout": 1}, "wrk: 1 timeout errors, 7 status errors"),
        ],
    )
    def test_errors_are_trouble(self, errors: dict[str, int], trouble: str) -> None:
        assert parse_wrk(wrk_output(**errors)) == Reading(5500.0, trouble, 11000, WRK_DETAILS | {"errors": sum(errors.values())})

    def test_one_that_got_nowhere_is_an_error_with_its_words(self) -> None:
        with pytest.raises(BenchError, match="Connection refused"):
            parse_wrk("unable to connect to 203.0.113.10:8081 Connection refused\n")

    def test_the_script_prints_what_the_parser_reads(self) -> None:
        template = next(line for line in wrk_script(VIPS[:2]).splitlines() if "string.format" in line)
        printed = template.split("'")[1]
        arguments = template.split("'")[2].removeprefix(", ").removesuffix("))").split(", ")
        values = {"summary.requests": 10, "summary.duration": 1_000_000, "errors.connect": 1, "errors.read": 2}
        values |= {"errors.write": 3, "errors.timeout": 4, "errors.status": 5}
        values |= {"latency:percentile(50)": 1500, "latency:percentile(99)": 9000}
        reading = parse_wrk(printed % tuple(values[argument] for argument in arguments))
        wanted = "wrk: 1 connect errors, 2 read errors, 3 write errors, 4 timeout errors, 5 status errors"
        assert reading == Reading(10.0, wanted, 10, {"p50_ms": 1.5, "p99_ms": 9.0, "errors": 15})

    def test_the_script_names_every_target(self) -> None:
        assert '{ "192.0.2.101", "192.0.2.102" }' in wrk_script(("192.0.2.101", "192.0.2.102"))


class TestIperf3:
    """Its output."""

    def test_the_figure_is_what_arrived(self) -> None:
        sent = {"bits_per_second": 2.5e9, "bytes": 10**9, "seconds": 3.0, "retransmits": 12}
        received = {"bits_per_second": 2.25e9, "bytes": 9 * 10**8, "seconds": 3.2}
        printed = json.dumps({"end": {"sum_sent": sent, "sum_received": received}})
        assert parse_iperf3(printed) == Reading(2.25, "", 7200.0, {"seconds": 3.2, "retransmits": 12, "arrived_share": 0.9})

    def test_older_ones_have_one_sum_for_udp(self) -> None:
        total = {"bits_per_second": 1e9, "bytes": 125_000_000, "seconds": 1.0, "packets": 10}
        assert parse_iperf3(json.dumps({"end": {"sum": total}})) == Reading(1.0, "", 1000.0, {"seconds": 1.0})

    def test_nothing_that_arrived_is_trouble(self) -> None:
        total = {"bits_per_second": 0.0, "bytes": 0, "seconds": 1.0}
        assert parse_iperf3(json.dumps({"end": {"sum_received": total}})).trouble == "iperf3: nothing arrived"

    def test_an_error_is_trouble_and_no_figure(self) -> None:
        answer = {"start": {}, "end": {}, "error": "the server is busy running a test. try again later"}
        assert parse_iperf3(json.dumps(answer)) == Reading(0.0, "iperf3: the server is busy running a test. try again later")

    def test_output_without_json_is_an_error(self) -> None:
        with pytest.raises(BenchError, match="no JSON: iperf3: unrecognized option"):
            parse_iperf3("iperf3: unrecognized option '--jsn'")


class TestReading:
    """One figure and what belongs to it."""

    def test_second_trouble_is_put_behind_the_first(self) -> None:
        assert Reading(1.0).with_trouble("a").with_trouble("b") == Reading(1.0, "a; b")

    def test_details_are_added(self) -> None:
        assert Reading(1.0, details={"a": 1.0}).with_details(b=2.0).details == {"a": 1.0, "b": 2.0}


class TestCounters:
    """What the kernel counts."""

    def test_queue_counters_are_read_from_the_kernels_columns(self) -> None:
        text = "    0   7001     0 2 65535     3     4   56915  1\n 1001   7002    12 2 65535     0     0      17  1\n"
        assert parse_queues(text) == {0: QueueCount(56915, 7), 1001: QueueCount(17, 0)}

    def test_growth_counts_a_new_queue_from_nothing_and_forgets_one_that_went(self) -> None:
        before = {0: QueueCount(100, 1), 5: QueueCount(9, 0)}
        after = {0: QueueCount(150, 3), 1000: QueueCount(20, 0)}
        assert growth(before, after) == {0: QueueCount(50, 2), 1000: QueueCount(20, 0)}

    def test_netstat_values_are_found_by_the_names_above_them(self) -> None:
        text = "TcpExt: SyncookiesSent TCPSynRetrans\nTcpExt: 1 22\nIpExt: InNoRoutes InOctets\nIpExt: 3 -1\n"
        assert parse_netstat(text) == {"SyncookiesSent": 1, "TCPSynRetrans": 22, "InNoRoutes": 3, "InOctets": -1}

    def test_packets_of_an_interface_are_counted_from_a_moment_on(self) -> None:
        assert InterfaceCount(100, 50).since(InterfaceCount(90, 45)) == (10, 5)


class TestCpu:
    """CPU time from control groups."""

    def test_usage_is_read_from_the_groups_file(self) -> None:
        assert usage_us("usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n") == 1234567
        with pytest.raises(ValueError, match="no usage_usec"):
            usage_us("user_usec 1\n")

    @pytest.mark.parametrize(
        ("mounts", "found"),
        [
            ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", Path("/sys/fs/cgroup")),
            ("tmpfs /cgroup tmpfs rw 0 0\ncgroup2 /cgroup/unified cgroup2 rw 0 0\n", Path("/cgroup/unified")),
            ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", None),
        ],
    )
    def test_the_mount_of_cgroup_v2_is_found(self, mounts: str, found: Path | None) -> None:
        assert mount_point(mounts) == found

    def test_a_meter_reads_both_groups(self, tmp_path: Path) -> None:
        for group, usage in (("gateway", 300), ("ends", 500)):
            (tmp_path / group).mkdir()
            (tmp_path / group / "cpu.stat").write_text(f"usage_usec {usage}\nuser_usec 1\n")
        read = CpuMeter(tmp_path).now()
        assert (read.gateway_us, read.ends_us) == (300, 500)
        assert read.all_us == 800 + read.softirqd_us

    def test_time_between_two_moments_is_a_difference(self) -> None:
        assert CpuTime(10.0, 20.0, 3.0, 50.0, 90.0).since(CpuTime(4.0, 5.0, 1.0, 10.0, 10.0)) == (6.0, 15.0, 2.0, 40.0, 80.0)

    def test_what_others_took_is_what_is_left_of_the_busy_time(self) -> None:
        assert CpuTime(6.0, 12.0, 2.0, 40.0, 80.0).others_share == 0.25
        assert CpuTime(6.0, 12.0, 2.0, 19.0, 80.0).others_share == 0.0  # ticks are coarse
        assert CpuTime(0.0, 0.0, 0.0, 0.0, 0.0).others_share == 0.0

    def test_time_of_all_cores_is_read_without_idling_and_guests(self) -> None:
        us = 1e6 / os.sysconf("SC_CLK_TCK")
        text = "cpu  100 1 50 800 40 2 5 2 70 1\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
        assert machine_us(text) == (160 * us, 1000 * us)

    def test_a_program_enters_the_group_before_it_becomes_itself(self, tmp_path: Path) -> None:
        entered = joining(tmp_path, ("sh", "-c", 'echo "$1"; cat "$2"', "sh", "a b", str(tmp_path / "cgroup.procs")))
        assert subprocess.run(entered, capture_output=True, text=True, check=True).stdout == "a b\n0\n"
        assert joining(None, ("wrk", "-c")) == ("wrk", "-c")

    def test_a_program_in_the_lab_learns_of_the_groups(self) -> None:
        names = {"LAB_DIR": "/d", "LAB_CLIENT_NS": "c", "LAB_GATEWAY_NS": "g", "LAB_RS1_NS": "r1", "LAB_RS2_NS": "r2"}
        assert Site.of_environment(names).gateway_group is None
        assert Site.of_environment(names | {ENVIRONMENT: "/g"}).gateway_group == Path("/g/gateway")


class TestPrograms:
    """Programs beside a measurement."""

    def test_one_that_ends_before_its_time_is_an_error_with_its_words(self, tmp_path: Path) -> None:
        def ends_early() -> None:
            with running(("sh", "-c", "echo no more memory"), tmp_path / "haproxy.log", lambda: True):
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

        with pytest.raises(BenchError, match="haproxy ended during a measurement; it said: no more memory"):
            ends_early()

    def test_one_that_does_not_get_ready_is_an_error_with_its_words(self, tmp_path: Path) -> None:
        with (
            pytest.raises(BenchError, match="haproxy did not start; it said: no such address"),
            running(("sh", "-c", "echo no such address"), tmp_path / "haproxy.log", lambda: False),
        ):
            pass


def test_spread_is_median_and_ends() -> None:
    assert spread([5.0, 1.0, 9.0, 2.0]) == (3.5, 1.0, 9.0)
    assert spread([]) is None


def test_rotation_by_more_than_the_length_begins_again() -> None:
    assert rotated("abcd", 6) == ["c", "d", "a", "b"]


def test_the_cpu_model_is_read_from_cpuinfo() -> None:
    assert cpu_model(["processor\t: 0", "model name\t: Some CPU @ 3: x", "model name\t: other"]) == "Some CPU @ 3: x"
