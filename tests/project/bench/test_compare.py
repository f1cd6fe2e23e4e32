"""`make bench`: in which order it goes, how it compares, what it prints, its command line."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.compare.__main__ import parse as parse_options
from bench.compare.as_json import as_json
from bench.compare.goals import GOALS, Goal, goals_of
from bench.compare.report import as_text
from bench.compare.results import ALL_CPU, GATEWAY_CPU, OTHERS_SHARE, Results, schedule
from bench.compare.run import judged, with_cpu
from bench.compare.setup import Setup
from bench.measures.bulk import BULK_TO_SERVER
from bench.measures.latency import LATENCY_TO_SERVER
from bench.measures.packets import UDP_PACKETS
from bench.measures.registry import MEASURES
from bench.measures.requests import CONNECTIONS, REQUESTS
from bench.modes.appliance import APPLIANCE
from bench.modes.haproxy import HAPROXY
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.queue_loop import QUEUE_LOOP
from bench.modes.registry import DEFAULTS
from bench.modes.routing import ROUTING
from bench.rig.cpu import CpuTime
from bench.rig.machine import Machine
from bench.rig.reading import Reading

MACHINE = Machine("6.1.0", "Some CPU", 2, "3.11.2", 0.25)
MODES = (ROUTING, NFT_NAT, HAPROXY, APPLIANCE)
SETUP = Setup(MACHINE, MODES, (CONNECTIONS, UDP_PACKETS), shards=2, rounds=2, seconds=5)


def results(**values: list[float]) -> Results:
    """New connections/s of some modes, a value for each round."""
    modes = {"appliance": APPLIANCE, "queue_loop": QUEUE_LOOP, "routing": ROUTING, "haproxy": HAPROXY}
    made = Results()
    for name, series in values.items():
        for value in series:
            made.add(CONNECTIONS, modes[name], Reading(value))
    return made


@pytest.fixture
def measured() -> Results:
    """Two rounds of SETUP; the NAT's second one of new connections had errors."""
    made = Results()
    series = {ROUTING: (20000, 10000, 90), NFT_NAT: (15000, 7000, 115), HAPROXY: (12000, 6000, 160), APPLIANCE: (9000, 4500, 400)}
    for mode, (first, second, cpu_us) in series.items():
        details = {"p50_ms": 3.0, "p99_ms": 9.5, GATEWAY_CPU: cpu_us / 2, ALL_CPU: cpu_us}
        bad = "wrk: 3 connect errors" if mode is NFT_NAT else ""
        made.add(CONNECTIONS, mode, Reading(first, "", 0, details))
        made.add(CONNECTIONS, mode, Reading(second, bad, 0, details))
        if mode is not HAPROXY:
            for value in (first, second):
                made.add(UDP_PACKETS, mode, Reading(10 * value, "", 0, {"arrived_share": 0.5}))
    return made


class TestSchedule:
    """The order of measurements."""

    def test_every_measurement_is_made_once_a_round(self) -> None:
        turns = list(schedule(3, (CONNECTIONS, REQUESTS), MODES))
        assert Counter(turns) == Counter(itertools.product(range(3), (CONNECTIONS, REQUESTS), MODES))

    def test_modes_of_one_measure_are_neighbours_and_each_round_starts_with_the_next_mode(self) -> None:
        turns = schedule(2, (CONNECTIONS, REQUESTS), (ROUTING, NFT_NAT, APPLIANCE))
        letters = {ROUTING: "a", NFT_NAT: "b", APPLIANCE: "c"}
        assert "".join(letters[mode] for _, _, mode in turns) == "abcabc" + "bcabca"

    def test_a_mode_that_does_not_carry_it_is_left_out(self) -> None:
        assert [mode for _, _, mode in schedule(1, (UDP_PACKETS,), MODES)] == [ROUTING, NFT_NAT, APPLIANCE]


class TestComparison:
    """Ratios and differences."""

    def test_a_ratio_is_taken_within_each_round(self) -> None:
        # The machine halves its speed after the first round; the ratio of the medians would be 0.5, of neighbours it is 0.9.
        made = results(appliance=[900.0, 450.0, 450.0], queue_loop=[1000.0, 500.0, 500.0])
        assert made.ratio(CONNECTIONS, APPLIANCE, QUEUE_LOOP) == (0.9, 0.9, 0.9)

    def test_the_ratio_of_medians_would_be_something_else(self) -> None:
        made = results(appliance=[100.0, 300.0, 20.0], queue_loop=[200.0, 400.0, 20.0])
        assert made.ratio(CONNECTIONS, APPLIANCE, QUEUE_LOOP) == (0.75, 0.5, 1.0)

    def test_rounds_without_a_base_are_left_out(self) -> None:
        assert results(appliance=[50.0, 80.0], queue_loop=[0.0, 100.0]).ratio(CONNECTIONS, APPLIANCE, QUEUE_LOOP) == (0.8,) * 3
        assert results(appliance=[50.0], queue_loop=[0.0]).ratio(CONNECTIONS, APPLIANCE, QUEUE_LOOP) is None
        assert results(appliance=[50.0]).ratio(CONNECTIONS, APPLIANCE, QUEUE_LOOP) is None

    def test_cpu_beyond_routing_is_taken_within_each_round(self) -> None:
        made = Results()
        for own, base in ((150.0, 100.0), (80.0, 50.0)):
            made.add(CONNECTIONS, APPLIANCE, Reading(1.0, details={ALL_CPU: own}))
            made.add(CONNECTIONS, ROUTING, Reading(1.0, details={ALL_CPU: base}))
        made.add(CONNECTIONS, APPLIANCE, Reading(0.0, "failed"))
        made.add(CONNECTIONS, ROUTING, Reading(1.0, details={ALL_CPU: 1.0}))
        assert made.beyond(CONNECTIONS, APPLIANCE, ROUTING, ALL_CPU) == (40.0, 30.0, 50.0)

    def test_cpu_is_for_each_unit(self) -> None:
        used = CpuTime(30_000.0, 60_000.0, 10_000.0, 120_000.0, 200_000.0)
        reading = with_cpu(Reading(1000.0, "", 2000.0), used)
        assert reading.details == {GATEWAY_CPU: 15.0, ALL_CPU: 50.0, OTHERS_SHARE: 0.1}
        assert with_cpu(Reading(1000.0, "", 2000.0), None).details == {}
        assert with_cpu(Reading(1000.0), used).details == {OTHERS_SHARE: 0.1}


class TestErrors:
    """What went wrong is said."""

    def test_nothing_at_all_is_no_figure(self) -> None:
        assert judged(Reading(0.0), 0, 0).trouble == "nothing got through"
        assert judged(Reading(0.0, "wrk: 64 timeout errors"), 0, 0).trouble == "wrk: 64 timeout errors"
        assert judged(Reading(1.0), 0, 0).trouble == ""

    def test_lost_packets_and_syns_are_named(self) -> None:
        wanted = "a; 3 packets found their queue full; 2 SYNs had to be sent again"
        assert judged(Reading(1.0, "a"), 3, 2).trouble == wanted

    def test_a_run_with_an_empty_measurement_is_told_from_others(self) -> None:
        assert results(appliance=[1.0, 0.0]).has_empty()
        assert not results(appliance=[1.0, 2.0]).has_empty()


class TestGoals:
    """What the appliance is to reach."""

    GOAL = Goal(CONNECTIONS, QUEUE_LOOP, 0.85)

    @pytest.mark.parametrize(
        ("appliance", "outcome"), [([85.0, 86.0], "reached"), ([84.0, 85.0], "missed"), ([], "undecided"), ([0.0, 0.0], "missed")]
    )
    def test_it_is_reached_when_the_median_ratio_is_high_enough(self, appliance: list[float], outcome: str) -> None:
        assert self.GOAL.outcome(results(appliance=appliance, queue_loop=[100.0, 100.0])) == outcome

    @pytest.mark.parametrize(("times", "outcome"), [(1.5, "reached"), (1.6, "missed")])
    def test_a_wait_is_to_be_short(self, times: float, outcome: str) -> None:
        made = Results()
        made.add(LATENCY_TO_SERVER, APPLIANCE, Reading(0.1, details={"times_alone": times}))
        assert Goal(LATENCY_TO_SERVER, None, 1.5).outcome(made) == outcome

    @pytest.mark.parametrize("mode", [APPLIANCE, QUEUE_LOOP], ids=lambda mode: mode.name)
    def test_it_is_not_decided_by_measurements_with_errors(self, mode: Mode) -> None:
        made = results(appliance=[90.0], queue_loop=[100.0])
        made.add(CONNECTIONS, mode, Reading(10.0, "wrk: 3 timeout errors"))
        assert self.GOAL.outcome(made) == "undecided"

    def test_only_goals_that_were_measured_are_spoken_of(self) -> None:
        assert list(goals_of((BULK_TO_SERVER, CONNECTIONS), (ROUTING, APPLIANCE))) == [Goal(BULK_TO_SERVER, ROUTING, 0.9)]
        assert list(goals_of(MEASURES, (ROUTING, NFT_NAT, HAPROXY))) == []
        assert list(goals_of(MEASURES, (ROUTING, NFT_NAT, HAPROXY, APPLIANCE))) == list(GOALS)

    def test_new_connections_are_held_against_the_two_that_people_use(self) -> None:
        assert [(goal.base, goal.bound) for goal in GOALS if goal.measure is CONNECTIONS] == [(NFT_NAT, 1.05), (HAPROXY, 1.5)]


class TestReport:
    """The tables."""

    def test_the_printed_tables(self, measured: Results) -> None:
        lines = as_text(SETUP, measured).splitlines()
        assert lines[0] == "kernel 6.1.0, Some CPU, 2 cores, Python 3.11.2"
        assert lines[1].startswith("shards: 2, rounds: 2, seconds a measurement: 5; interleaved")
        first = lines[lines.index("new connections") + 1 :]
        assert re.split("  +", first[0])[-3:] == ["gateway us/connection", "all us/connection", "beyond routing's"]
        rows = {row.partition("  ")[0]: row.split() for row in first[1:5]}
        assert rows["nft DNAT+SNAT"][2:] == [
            *("11,000", "(7,000..15,000)!", "0.72", "(0.70..0.75)", "1.00", "(1.00..1.00)"),
            *("3.00", "(3.00..3.00)", "9.50", "(9.50..9.50)"),
            *("57.5", "(57.5..57.5)", "115.0", "(115.0..115.0)", "25.0", "(25.0..25.0)"),
        ]
        assert rows["appliance"][-2:] == ["310.0", "(310.0..310.0)"]
        assert lines[-1] == "  connections, nft DNAT+SNAT, round 2: wrk: 3 connect errors"

    def test_a_mode_that_does_not_carry_it_says_so(self, measured: Results) -> None:
        assert re.search("(?m)^HAProxy, mode tcp +carries no UDP$", as_text(SETUP, measured))

    def test_a_mode_that_is_left_out_is_named(self, measured: Results) -> None:
        assert "HAProxy is left out: so\n" in as_text(SETUP._replace(left_out=("HAProxy is left out: so",)), measured)

    def test_tables_without_errors_speak_of_none(self) -> None:
        text = as_text(SETUP._replace(measures=(CONNECTIONS,)), results(appliance=[90.0], routing=[100.0]))
        assert "!" not in text
        assert "errors" not in text

    def test_missing_cpu_time_is_mentioned(self, measured: Results) -> None:
        assert "CPU time was not accounted" in as_text(SETUP, results(appliance=[90.0]))
        assert "CPU time was not accounted" not in as_text(SETUP, measured)

    def test_a_busy_machine_is_mentioned(self, measured: Results) -> None:
        busy = SETUP._replace(machine=MACHINE._replace(load_at_start=3.5))
        assert "the load average was 3.5 at the start" in as_text(busy, measured)
        assert "load average" not in as_text(SETUP, measured)

    def test_what_others_took_is_mentioned_when_it_was_much(self) -> None:
        for share, is_said in ((0.25, True), (0.04, False)):
            made = Results()
            made.add(CONNECTIONS, ROUTING, Reading(1.0, details={OTHERS_SHARE: share}))
            said = "other programs took 25% of all cores (25%..25%): figures are rough" in as_text(SETUP, made)
            assert said == is_said

    def test_a_goal_is_printed_with_its_figure(self) -> None:
        setup = SETUP._replace(modes=(HAPROXY, APPLIANCE))
        text = as_text(setup, results(appliance=[149.0], haproxy=[100.0]))
        assert "goal, new connections: at least 1.5 of HAProxy, mode tcp: 1.49 (1.49..1.49), missed\n" in text


def test_json_has_every_round_and_every_ratio(measured: Results) -> None:
    data: dict[str, Any] = json.loads(json.dumps(as_json(SETUP, measured)))
    assert data["version"] == 1
    assert data["others_share"] is None
    assert data["machine"] == {"kernel": "6.1.0", "cpu": "Some CPU", "cores": 2, "python": "3.11.2", "load_at_start": 0.25}
    connections = data["measures"]["connections"]
    nat = connections["modes"]["nft-nat"]
    assert (nat["median"], nat["low"], nat["high"]) == (11000.0, 7000.0, 15000.0)
    assert nat["values"] == [15000.0, 7000.0]
    assert nat["troubles"] == ["", "wrk: 3 connect errors"]
    assert nat["details"][ALL_CPU] == {"median": 115.0, "low": 115.0, "high": 115.0, "values": [115.0, 115.0]}
    assert connections["ratios"]["appliance/routing"] == {"median": 0.45, "low": 0.45, "high": 0.45}
    assert set(connections["ratios"]) == {
        *("nft-nat/routing", "haproxy/routing", "appliance/routing"),
        *("routing/nft-nat", "haproxy/nft-nat", "appliance/nft-nat"),
    }
    assert set(data["measures"]["udp-packets"]["modes"]) == {"routing", "nft-nat", "appliance"}


class TestCommandLine:
    """What can be asked for."""

    def test_quick_is_the_default_of_two_options_and_both_may_be_given(self) -> None:
        def sizes(*arguments: str) -> tuple[int, int, int]:
            options = parse_options(arguments)
            return options.rounds, options.seconds, options.shards

        assert sizes() == (5, 3, 2)
        assert sizes("--quick") == (2, 1, 2)
        assert sizes("--quick", "--rounds", "3", "--shards", "4") == (3, 1, 4)

    def test_modes_and_measures_are_chosen_by_name(self) -> None:
        options = parse_options(["--modes", "appliance,routing,appliance", "--measures", "udp-packets", "--svg", "x.svg"])
        assert options.modes == ("appliance", "routing")
        assert options.measures == ("udp-packets",)
        assert options.svg == Path("x.svg")
        assert parse_options([]).modes == DEFAULTS
        assert len(parse_options([]).measures) == len(MEASURES)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--rounds", "0"], "is not a number from"),
            (["--seconds", "11"], "is not a number from"),
            (["--shards", "-1"], "is not a number from"),
            (["--shards", "two"], "is not a number from"),
            (["--modes", "routing,ipvs"], "'ipvs' is not a mode"),
            (["--modes", ""], "'' is not a mode"),
            (["--measures", "speed"], "'speed' is not a measure"),
        ],
    )
    def test_what_there_is_not_is_refused(self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse_options(arguments)
        assert said in capsys.readouterr().err
