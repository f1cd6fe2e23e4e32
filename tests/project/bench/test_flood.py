"""The modes of the flood benchmark, with their configuration and rules, and its command line."""

import re

import pytest

from appliance.config.loading import parse as parse_config
from bench.flood import __main__ as program
from bench.flood.__main__ import RATES_PER_S, schedule
from bench.flood.__main__ import parse as parse_options
from bench.flood.gateway import (
    CONTROL_VIPS,
    FRONT_DOOR_VIPS,
    SHIPPED_VIPS,
    UNPROTECTED_VIPS,
    WORKERS_VIPS,
    answering_in_kernel,
    as_shipped,
    configuration,
    opened_by_workers,
)
from bench.flood.goals import FLOODED_PER_S
from bench.flood.modes import ALONE, AS_SHIPPED, CONTROL, FRONT_DOOR, KERNEL, MODES, PROXIED, WORKERS, synproxy_table
from bench.modes.appliance import API, WITH_LANE
from bench.rig.topology import HTTP_PORT, NAT_VIPS, UNGUARDED, VIPS, module
from bench.senders.flood import UNPACED_PER_S
from tests.project.bench.refusals import refusal

# the modes


def test_each_mode_has_services_with_its_own_protection() -> None:
    text = configuration()
    services = parse_config(text, "flood.toml").services
    assert text.count("synproxy =") == len(VIPS + UNPROTECTED_VIPS), "what is shipped is not written down"
    assert {str(service.vip): service.synproxy for service in services} == {
        **dict.fromkeys(VIPS, True),
        **dict.fromkeys(UNPROTECTED_VIPS, False),
    }
    assert {service.port for service in services} == {HTTP_PORT}


def test_the_front_door_is_the_proxied_service_with_its_syns_in_the_kernel() -> None:
    config = parse_config(answering_in_kernel(WITH_LANE, api=API), "flood.toml")
    assert {str(service.vip): service.synproxy for service in config.services} == dict.fromkeys(FRONT_DOOR_VIPS, True)
    assert (config.gateway.lane, config.sysctl.get("synproxy_in_kernel", 1)) == ("required", 1)
    assert parse_config(configuration(), "flood.toml").sysctl["synproxy_in_kernel"] == 0


def test_the_control_is_the_front_door_while_an_address_of_nobody_is_flooded() -> None:
    text, same = (answering_in_kernel(WITH_LANE, vips=vips, api=API) for vips in (CONTROL_VIPS, FRONT_DOOR_VIPS))
    for other, vip in zip(CONTROL_VIPS, FRONT_DOOR_VIPS, strict=True):
        text = text.replace(other, vip)
    assert text == same
    assert (CONTROL.targets, CONTROL.flooded) == (CONTROL_VIPS, UNGUARDED)
    assert {mode.flooded for mode in MODES if mode is not CONTROL} == {""}


def test_workers_open_connections_of_services_as_shipped() -> None:
    config = parse_config(opened_by_workers(WITH_LANE, api=API), "flood.toml")
    assert {str(service.vip): service.synproxy for service in config.services} == dict.fromkeys(WORKERS_VIPS, "auto")
    assert (config.gateway.lane, config.sysctl["prepared_admissions"], config.sysctl["synproxy_in_kernel"]) == ("required", 0, 0)
    assert "prepared_admissions" not in configuration() + answering_in_kernel()
    assert WORKERS.targets == WORKERS_VIPS


def test_services_as_shipped_say_nothing() -> None:
    text = as_shipped(WITH_LANE, api=API)
    config = parse_config(text, "flood.toml")
    assert {str(service.vip): service.synproxy for service in config.services} == dict.fromkeys(SHIPPED_VIPS, "auto")
    assert "sysctl" not in text
    assert "synproxy" not in text
    assert (AS_SHIPPED.targets, AS_SHIPPED in ALONE) == (SHIPPED_VIPS, True)


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
    assert [mode.name for mode in MODES if mode.opened is PROXIED.opened] == ["appliance", "unprotected"]


def test_no_address_belongs_to_two_modes() -> None:
    targets = [target for mode in MODES for target in mode.targets]
    assert len(set(targets)) == len(targets)


def test_the_kernel_answers_the_syns_of_its_vips_only() -> None:
    rules = [line for line in synproxy_table().splitlines() if "notrack" in line or "synproxy mss" in line]
    assert [re.findall(r"[\d.]{9,}", rule) for rule in rules] == [list(NAT_VIPS)] * 2


# the command line


def test_the_thorough_run_is_the_default() -> None:
    quick, thorough = parse_options(["--quick"]), parse_options([])
    assert thorough.rates == RATES_PER_S
    assert set(quick.rates) < set(thorough.rates)
    assert quick.rates[0] == thorough.rates[0] == 0, "the shares are of what there is without a flood"
    assert thorough.rounds * thorough.seconds > quick.rounds * quick.seconds
    assert {FLOODED_PER_S, UNPACED_PER_S} < set(quick.rates), "the goals are for these"
    assert (thorough.rounds, thorough.modes) == (5, (FRONT_DOOR, CONTROL, KERNEL))


def test_modes_take_turns_and_a_round_has_all_rates() -> None:
    order = list(schedule(2, (0, 5000, 10_000), (FRONT_DOOR, KERNEL)))
    assert [(mode.name, rate) for mode, rate, _ in order] == [
        *((name, rate) for rate in (0, 5000, 10_000) for name in ("front-door", "kernel")),
        *((name, rate) for rate in (0, 5000, 10_000) for name in ("kernel", "front-door")),
    ]
    assert [vip for _, _, vip in order] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], "none is flooded twice in a row"


def test_one_mode_can_be_measured_at_rates_of_ones_own() -> None:
    options = parse_options(["--rates", "5000,600", "--rounds", "5", "--seconds", "3", "--modes", "shipped"])
    assert (options.rates, options.rounds, options.seconds) == ((0, 600, 5000), 5, 3)
    assert options.modes == (AS_SHIPPED,)
    assert not options.stops, "what was asked for is measured"
    assert parse_options([]).stops
    assert parse_options(["--rates", "unpaced,5000"]).rates == (0, 5000, UNPACED_PER_S)
    assert parse_options(["--modes", ",".join(mode.name for mode in MODES)]).modes == MODES


@pytest.mark.parametrize("wrong", ["500001", str(UNPACED_PER_S), "many", "600,", "600 5000", "-1"])
def test_a_rate_that_cannot_be_sent_is_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    assert "--rates" in refusal(capsys, parse_options, [f"--rates={wrong}"])


def test_a_mode_that_there_is_not_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, parse_options, ["--modes", "shipped,ipvs"])
    assert "'ipvs' is not a mode; the modes are appliance, front-door, control, kernel, shipped, unprotected, workers" in said
