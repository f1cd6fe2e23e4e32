"""A SYN flood of the benchmark as it is sent, captured, counted and measured; no kernel is needed."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dpkt
import pytest

from bench.flood import captured
from bench.flood import load as loads
from bench.flood.captured import checked, has_right_checksums
from bench.flood.counting import Counted, PerSecond, parse_counters, table
from bench.flood.load import Load, judged
from bench.rig.reading import Reading
from bench.rig.topology import CLIENT, HTTP_PORT, UNGUARDED, VIPS, BenchError, Site
from bench.senders.flood import RATE_MAX_PER_S, SECONDS_MAX, SPOOFED_NETWORK, UNPACED_PER_S, due
from bench.senders.syn_flood import SYN_BYTES, train
from bench.senders.syn_flood import parse as parse_flood
from tests.project.bench.refusals import refusal
from tests.support.segments import assert_tcp_checksum

# the flooder


def syns_of(count: int) -> list[bytes]:
    """SYNs as the flooder hands them to the kernel."""
    syns = train(VIPS[0], HTTP_PORT, count)
    return [bytes(syns[start : start + SYN_BYTES]) for start in range(0, len(syns), SYN_BYTES)]


def test_every_syn_is_one_with_a_right_checksum_from_an_address_nobody_has() -> None:
    packets = syns_of(300)
    for raw in packets:
        assert_tcp_checksum(raw)
        packet = dpkt.ip.IP(raw)
        assert (packet.len, packet.data.flags, packet.data.dport) == (len(raw), dpkt.tcp.TH_SYN, HTTP_PORT)
        kinds = [kind for kind, _ in dpkt.tcp.parse_opts(packet.data.opts)]
        assert kinds == [2, 4, 8, 1, 3], "MSS, SACK permitted, timestamps, NOP, window scale"
    sources = {raw[12:16] for raw in packets}
    assert sources == {host.packed for host in SPOOFED_NETWORK.hosts()}
    assert len({raw[12:28] for raw in packets}) == len(packets)


def test_the_spoofed_addresses_are_not_the_clients() -> None:
    assert CLIENT not in {str(address) for address in SPOOFED_NETWORK}


def test_the_pace_is_the_rate() -> None:
    assert due(1000, 0.1, 0) == (100, 0)
    assert due(1000, 0.1, 100) == (0, 0)


def test_a_batch_has_an_end() -> None:
    count, late = due(100_000, 0.01, 0)
    assert (0 < count < 1000, late) == (True, 0)


def test_a_late_flooder_does_not_make_up_for_it() -> None:
    count, late = due(100_000, 10.0, 0)
    assert late > 990_000
    assert count + late < 1_000_000
    assert due(100_000, 10.0, 1_000_000) == (0, 0)


def test_an_unpaced_flooder_never_waits() -> None:
    accounted = 0
    for elapsed_s in (0.001, 0.002, 1.0, 1.001, 30.0, float(SECONDS_MAX)):
        count, late = due(UNPACED_PER_S, elapsed_s, accounted)
        assert count == due(100_000, 10.0, 0)[0], "a whole batch"
        accounted += count + late


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["192.168.0.1", "80", "--rate", "10", "--seconds", "1"], "192.168.0.1 is not a test address"),
        (["8.8.8.8", "80", "--rate", "10", "--seconds", "1"], "8.8.8.8 is not a test address"),
        (["example", "80", "--rate", "10", "--seconds", "1"], "'example'"),
        ([VIPS[0], "0", "--rate", "10", "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "0", "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", str(RATE_MAX_PER_S + 1), "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "fast", "--seconds", "1"], "'fast'"),
        ([VIPS[0], "80", "--rate", "unpaced", "--seconds", "61"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "10", "--seconds", "61"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "10", "--seconds", "nan"], "port, rate or seconds out of range"),
    ],
)
def test_a_flood_without_bounds_or_of_a_real_address_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refusal(capsys, parse_flood, arguments)


def test_a_bounded_flood_of_a_test_address_is_taken() -> None:
    assert parse_flood([VIPS[0], "80", "--rate", "10", "--seconds", "0.5"]).seconds == 0.5
    assert parse_flood([VIPS[0], "80", "--rate", "unpaced", "--seconds", "1"]).rate == UNPACED_PER_S


# what is captured and counted


def as_sent(syn: bytes) -> bytes:
    """The SYN with the checksum of the IP header, which the kernel writes; dpkt computes both."""
    packet = dpkt.ip.IP(syn)
    packet.sum = 0
    return bytes(packet)


def test_right_syns_are_counted() -> None:
    assert checked([as_sent(syn) for syn in syns_of(64)]) == 64


@pytest.mark.parametrize("at", [0, 8, 12, 19, 20, 27, 36, 40, SYN_BYTES - 1])
def test_a_flood_with_one_wrong_byte_is_refused(at: int) -> None:
    right, *others = (as_sent(syn) for syn in syns_of(3))
    wrong = right[:at] + bytes((right[at] ^ 1,)) + right[at + 1 :]
    assert has_right_checksums(right)
    with pytest.raises(BenchError, match=r"^1 of 3 SYNs of the flood have a wrong checksum$"):
        checked([wrong, *others])


def test_a_checksum_of_an_odd_length_is_right_too() -> None:
    packet = dpkt.ip.IP(as_sent(syns_of(1)[0]))
    packet.data.data, packet.data.sum, packet.sum = b"odd", 0, 0
    packet.len += 3
    assert has_right_checksums(bytes(packet))
    assert not has_right_checksums(bytes(packet)[:-1] + b"e")


def test_a_flood_of_which_nothing_is_seen_is_refused() -> None:
    with pytest.raises(BenchError, match="did not leave"):
        checked([])


class Wire:
    """A capture socket on which these packets come, and then no more."""

    def __init__(self, packets: Iterable[bytes]) -> None:
        self._packets = iter(packets)

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, _size: int) -> bytes:
        try:
            return next(self._packets)
        except StopIteration:
            raise TimeoutError from None


def test_what_is_captured_is_the_flood_of_this_target() -> None:
    one, two, *_ = syns = syns_of(3 * captured.CAPTURED_MAX)
    of_a_client = one[:12] + socket.inet_aton(CLIENT) + one[16:]
    to_another = one[:16] + socket.inet_aton(VIPS[1]) + one[20:]
    target = socket.inet_aton(VIPS[0])
    assert list(captured._captured(Wire([of_a_client, one, to_another, two]), target)) == [one, two]  # type: ignore[arg-type]
    assert list(captured._captured(Wire(syns), target)) == syns[: captured.CAPTURED_MAX]  # type: ignore[arg-type]


def test_a_measurement_counts_the_flood_alone_and_then_beside_its_load(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def noted(step: str, result: Any = None) -> Any:
        steps.append(step)
        return result

    moments = iter((Counted(0, 0, 0.0), Counted(100, 90, 1.0), Counted(1100, 490, 3.0)))

    @contextmanager
    def counting(_site: Site) -> Iterator[Callable[[], Counted]]:
        yield lambda: noted("counted", next(moments))

    @contextmanager
    def flooding(*given: str, **_: float) -> Iterator[Callable[[], bool]]:
        steps.append(f"flood {given[1]}")
        yield lambda: False
        steps.append("flood over")

    monkeypatch.setattr(loads, "counting", counting)
    monkeypatch.setattr(loads, "flooding_meanwhile", flooding)
    monkeypatch.setattr(loads, "check_flood", lambda target: noted(f"captured {target}", 64))
    monkeypatch.setattr(loads, "Probe", lambda _target: nullcontext(SimpleNamespace(connects_s=[0.5], failed=2)))
    monkeypatch.setattr(loads, "_fresh", lambda *_: noted("wrk", Reading(7.0)))
    monkeypatch.setattr("bench.flood.load.time.sleep", lambda seconds: noted(f"{seconds:g} s"))
    site = Site(Path(), "client", "gateway", ("rs1", "rs2"))

    load = loads.measure(site, VIPS[0], UNGUARDED, 5000, 2)

    assert steps == [
        *(f"flood {UNGUARDED}", f"captured {UNGUARDED}", "counted", "1 s", "counted", "wrk", "counted", "flood over"),
    ]
    assert load == Load(Reading(7.0, "the flood ended too early"), PerSecond(500, 200), PerSecond(100, 90), (0.5,), 2, 64)


def counters(**packets: int) -> str:
    listed = [{"counter": {"family": "ip", "name": name, "packets": count, "bytes": 9}} for name, count in packets.items()]
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *listed]})


def test_rates_are_of_what_was_counted_between_two_moments() -> None:
    before = parse_counters(counters(answered=50, sent=100), 10.0)
    after = parse_counters(counters(answered=650, sent=1100), 12.0)
    assert (before, after) == (Counted(100, 50, 10.0), Counted(1100, 650, 12.0))
    assert after.since(before) == PerSecond(500, 300)


def test_a_counter_that_is_missing_is_not_zero() -> None:
    with pytest.raises(KeyError, match="answered"):
        parse_counters(counters(sent=1), 0.0)


def test_syns_and_answers_are_those_of_the_flood_only() -> None:
    rules = {rule.split('"')[1]: rule for rule in table().splitlines() if "counter name" in rule}
    assert f"ip saddr {SPOOFED_NETWORK} tcp dport {HTTP_PORT} tcp flags & (syn | ack) == syn counter" in rules["sent"]
    assert f"ip daddr {SPOOFED_NETWORK} tcp sport {HTTP_PORT} tcp flags & (syn | ack) == (syn | ack) counter" in rules["answered"]
    assert CLIENT not in table()


def test_a_flood_that_ends_before_the_load_is_trouble() -> None:
    assert judged(Reading(10.0), was_flooded=True) == Reading(10.0)
    assert (
        judged(Reading(10.0, "wrk: 1 read errors"), was_flooded=False).trouble == "wrk: 1 read errors; the flood ended too early"
    )
