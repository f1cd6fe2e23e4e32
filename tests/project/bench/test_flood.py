"""The parts of the flood benchmark that need no kernel: the SYNs, their pace, the configuration and rules, the table."""

import re

import dpkt
import pytest

from appliance.config.loading import parse as parse_config
from bench.flood import __main__ as program
from bench.flood.__main__ import RATES_PER_S
from bench.flood.__main__ import parse as parse_options
from bench.flood.gateway import FRONT_DOOR_VIPS, SHIPPED_VIPS, UNPROTECTED_VIPS, answering_in_kernel, configuration
from bench.flood.load import Load
from bench.flood.modes import AS_SHIPPED, FRONT_DOOR, KERNEL, MODES, PROXIED, UNPROTECTED, synproxy_table
from bench.flood.report import FloodResults, Round, as_text
from bench.modes.appliance import API, WITH_LANE
from bench.modes.mode import Mode
from bench.rig.machine import Machine
from bench.rig.reading import Reading
from bench.rig.topology import CLIENT, HTTP_PORT, NAT_VIPS, VIPS, module
from bench.senders.flood import RATE_MAX_PER_S, SPOOFED_NETWORK, due
from bench.senders.syn_flood import SYN_BYTES, train
from bench.senders.syn_flood import parse as parse_flood
from tests.support.segments import assert_tcp_checksum

MACHINE = Machine("6.1.0", "a CPU", 2, "3.11.2", 0.1)


# the flooder


def test_every_syn_is_one_with_a_right_checksum_from_an_address_nobody_has() -> None:
    syns = train(VIPS[0], HTTP_PORT, 300)
    packets = [bytes(syns[start : start + SYN_BYTES]) for start in range(0, len(syns), SYN_BYTES)]
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["192.168.0.1", "80", "--rate", "10", "--seconds", "1"], "192.168.0.1 is not a test address"),
        (["8.8.8.8", "80", "--rate", "10", "--seconds", "1"], "8.8.8.8 is not a test address"),
        (["example", "80", "--rate", "10", "--seconds", "1"], "'example'"),
        ([VIPS[0], "0", "--rate", "10", "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "0", "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", str(RATE_MAX_PER_S + 1), "--seconds", "1"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "10", "--seconds", "61"], "port, rate or seconds out of range"),
        ([VIPS[0], "80", "--rate", "10", "--seconds", "nan"], "port, rate or seconds out of range"),
    ],
)
def test_a_flood_without_bounds_or_of_a_real_address_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_flood(arguments)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_a_bounded_flood_of_a_test_address_is_taken() -> None:
    assert parse_flood([VIPS[0], "80", "--rate", "10", "--seconds", "0.5"]).seconds == 0.5


# the modes


def test_each_mode_has_services_with_its_own_protection() -> None:
    text = configuration()
    services = parse_config(text, "flood.toml").services
    assert text.count("synproxy =") == len(VIPS + UNPROTECTED_VIPS), "what is shipped is not written down"
    assert {str(service.vip): service.synproxy for service in services} == {
        **dict.fromkeys(VIPS, True),
        **dict.fromkeys(UNPROTECTED_VIPS, False),
        **dict.fromkeys(SHIPPED_VIPS, "auto"),
    }
    assert {service.port for service in services} == {HTTP_PORT}


def test_the_front_door_is_the_proxied_service_with_its_syns_in_the_kernel() -> None:
    config = parse_config(answering_in_kernel(WITH_LANE, api=API), "flood.toml")
    assert {str(service.vip): service.synproxy for service in config.services} == dict.fromkeys(FRONT_DOOR_VIPS, True)
    assert (config.gateway.lane, config.sysctl["synproxy_in_kernel"]) == ("required", 1)
    assert "synproxy_in_kernel" not in configuration()


def test_its_appliance_has_a_lane_and_does_not_run_where_the_lab_asks() -> None:
    config = parse_config(configuration(WITH_LANE, api=API), "flood.toml")
    assert config.gateway.lane == "required"
    assert config.api.listen != parse_config(configuration(), "flood.toml").api.listen


def test_no_appliance_runs_beside_the_kernels_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    labs: list[dict[str, object]] = []
    monkeypatch.setattr(program, "check_host", lambda *_: None)
    monkeypatch.setattr(program, "run_in_lab", lambda *_, **given: labs.append(given))
    program._make_lab(parse_options([]), [])
    assert labs == [{"gateway": module("bench.rig.stand_in")}]
    assert [mode.name for mode in MODES if mode.opened is AS_SHIPPED.opened] == ["appliance", "shipped", "unprotected"]


def test_no_address_belongs_to_two_modes() -> None:
    targets = [target for mode in MODES for target in mode.targets]
    assert len(set(targets)) == len(targets)


def test_the_kernel_answers_the_syns_of_its_vips_only() -> None:
    rules = [line for line in synproxy_table().splitlines() if "notrack" in line or "synproxy mss" in line]
    assert [re.findall(r"[\d.]{9,}", rule) for rule in rules] == [list(NAT_VIPS)] * 2


# the results


def load(fresh: float, trouble: str = "", connects_s: tuple[float, ...] = (0.001, 0.002, 0.5), failed: int = 0) -> Load:
    return Load(Reading(fresh, trouble), 4990.0, connects_s, failed)


def results_of(*measured: tuple[Mode, int, Load]) -> FloodResults:
    results = FloodResults()
    for mode, rate, one in measured:
        results.add(mode, rate, Round(one, 3, 4))
    return results


def test_a_mode_breaks_where_it_makes_less_than_half() -> None:
    results = results_of((PROXIED, 0, load(1000)), (PROXIED, 5000, load(500)), (PROXIED, 10_000, load(499)))
    assert results.breaks_at(PROXIED) == 10_000


@pytest.mark.parametrize("bad", [load(1000, "wrk: 1 timeout errors"), load(1000, failed=1)])
def test_a_mode_breaks_at_the_first_error(bad: Load) -> None:
    assert results_of((PROXIED, 0, load(1000)), (PROXIED, 5000, bad)).breaks_at(PROXIED) == 5000


def test_a_mode_that_holds_breaks_nowhere() -> None:
    results = results_of((KERNEL, 0, load(1000)), (KERNEL, 5000, load(900)), (PROXIED, 10_000, load(1)))
    assert results.breaks_at(KERNEL) is None


def test_a_dead_mode_is_broken_without_a_flood() -> None:
    assert results_of((PROXIED, 0, load(0))).breaks_at(PROXIED) == 0


def test_rounds_are_put_together() -> None:
    results = results_of(
        *((PROXIED, 0, load(fresh)) for fresh in (900, 1000, 5000)),
        *((PROXIED, 5000, load(fresh, connects_s=times)) for fresh, times in ((700, (0.001,)), (800, (0.003, 2.5)), (900, ()))),
    )
    assert results.fresh_per_s(PROXIED, 5000) == 800
    assert results.share(PROXIED, 5000) == 0.8
    row = next(line for line in text_of(results).splitlines() if line.lstrip().startswith("5,000  "))
    assert row.split()[-8:] == ["4,990", "800", "80%", "3.00", "2,500.0", "0", "9", "12"]


def text_of(results: FloodResults) -> str:
    return as_text(MACHINE, 1, 2, 2, results)


def test_the_text_says_what_it_was_measured_on_and_what_broke() -> None:
    results = results_of(
        (PROXIED, 0, load(1000)),
        (KERNEL, 0, load(2000)),
        (PROXIED, 5000, load(100, "wrk: 7 timeout errors")),
        (KERNEL, 5000, load(0, connects_s=())),
        (UNPROTECTED, 0, load(1000)),
    )
    text = text_of(results)
    assert "the 2 cores also run the flooder, the client and the real servers" in text
    assert f"{PROXIED.title}: 5,000 SYN/s" in text
    assert AS_SHIPPED.title not in text, "it was not measured"
    assert f"{UNPROTECTED.title}: held at all rates up to 0 SYN/s" in text
    assert f"{PROXIED.title}, 5,000 SYN/s: wrk: 7 timeout errors" in text
    ratios = text.partition("by SYN/s:\n")[2].splitlines()
    assert [line.split() for line in ratios[:2]] == [["0", "0.50"], ["5,000", "-"]]
    assert FRONT_DOOR.title not in text
    doors = text_of(results_of((FRONT_DOOR, 0, load(3000)), (KERNEL, 0, load(2000))))
    assert f"{FRONT_DOOR.title} / {KERNEL.title}, by SYN/s:\n         0  1.50\n" in doors


# the command line


def test_the_thorough_run_is_the_default() -> None:
    quick, thorough = parse_options(["--quick"]), parse_options([])
    assert thorough.rates == RATES_PER_S
    assert set(quick.rates) < set(thorough.rates)
    assert quick.rates[0] == thorough.rates[0] == 0, "the shares are of what there is without a flood"
    assert thorough.rounds * thorough.seconds > quick.rounds * quick.seconds


def test_one_mode_can_be_measured_at_rates_of_ones_own() -> None:
    options = parse_options(["--rates", "5000,600", "--rounds", "5", "--seconds", "3", "--modes", "shipped"])
    assert (options.rates, options.rounds, options.seconds) == ((0, 600, 5000), 5, 3)
    assert options.modes == (AS_SHIPPED,)
    assert not options.stops, "what was asked for is measured"
    assert parse_options([]).modes == MODES
    assert parse_options([]).stops


@pytest.mark.parametrize("wrong", ["500001", "many", "600,", "600 5000", "-1"])
def test_a_rate_that_cannot_be_sent_is_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_options([f"--rates={wrong}"])
    assert refused.value.code == 2
    assert "--rates" in capsys.readouterr().err


def test_a_mode_that_there_is_not_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_options(["--modes", "shipped,ipvs"])
    assert refused.value.code == 2
    assert "'ipvs' is not a mode; the modes are appliance, front-door, kernel, shipped, unprotected" in capsys.readouterr().err
