"""What the flood benchmark makes of its measurements: rates, shares, goals and the text."""

import re

import pytest

from bench.flood.counting import PerSecond
from bench.flood.goals import FLOODED_PER_S, GOALS
from bench.flood.load import Load
from bench.flood.modes import AS_SHIPPED, CONTROL, FRONT_DOOR, KERNEL, PROXIED, UNPROTECTED
from bench.flood.report import as_text
from bench.flood.results import FloodResults, Round
from bench.modes.mode import Mode
from bench.rig.machine import Machine
from bench.rig.reading import Reading
from bench.senders.flood import UNPACED_PER_S, rate_in_words

MACHINE = Machine("6.1.0", "a CPU", 2, "3.11.2", 0.1)


# the results


def load(
    fresh: float,
    trouble: str = "",
    connects_s: tuple[float, ...] = (0.001, 0.002, 0.5),
    failed: int = 0,
    *,
    errors: int = 0,
    flood: tuple[float, float] = (4990.0, 4980.0),
    alone: float = 4985.0,
) -> Load:
    reading = Reading(fresh, trouble, details={"errors": errors})
    return Load(reading, PerSecond(*flood), PerSecond(5000.0, alone), connects_s, failed, captured=64)


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


def test_errors_are_those_of_wrk_and_of_the_probe() -> None:
    assert load(1000, "wrk: 2 read errors", errors=2, failed=3).errors == 5
    assert Load(Reading(0.0), PerSecond(0, 0), PerSecond(0, 0), (), 1).errors == 1


def test_rounds_are_put_together() -> None:
    results = results_of(
        *((PROXIED, 0, load(fresh)) for fresh in (900, 1000, 5000)),
        (PROXIED, 5000, load(720, connects_s=(0.001,), errors=1, flood=(4990, 4000), alone=10)),
        (PROXIED, 5000, load(900, connects_s=(0.003, 2.5), flood=(4980, 3000), alone=30)),
        (PROXIED, 5000, load(500, connects_s=(), failed=2, flood=(5000, 3500), alone=20)),
    )
    assert results.captured() == 6 * 64
    row = next(line for line in text_of(results).splitlines() if line.lstrip().startswith("5,000  "))
    assert re.split("  +", row.strip()) == [
        *("5,000", PROXIED.title, "4,990 (4,980..5,000)", "3,500 (3,000..4,000)", "20 (10..30)", "720 (500..900)"),
        *("0.80 (0.10..0.90)", "1 (0..2)", "3.00", "2,500.0", "9", "12"),
    ]


def test_modes_are_compared_within_a_round() -> None:
    results = results_of(
        *((FRONT_DOOR, 0, load(fresh)) for fresh in (100, 900)),
        *((KERNEL, 0, load(fresh)) for fresh in (100, 300, 500)),
    )
    ratio = results.ratio(lambda one: one.fresh_per_s, FRONT_DOOR, KERNEL, 0)
    assert ratio == (2.0, 1.0, 3.0)
    assert results.ratio(lambda one: one.fresh_per_s, FRONT_DOOR, KERNEL, 5000) is None


def test_a_share_of_what_was_not_measured_is_not_known() -> None:
    results = results_of((PROXIED, 0, load(0)), (PROXIED, 5000, load(10)))
    assert results.share(PROXIED, 10_000) is None
    assert results.share(PROXIED, 5000) == (0, 0, 0), "it has none without a flood"


# the goals


def outcomes(*measured: tuple[Mode, int, Load]) -> list[str]:
    return [goal.outcome(results_of(*measured)) for goal in GOALS]


def run_with(
    *,
    answered: float = 130,
    fresh: float = 900,
    kernel_fresh: float = 899,
    sent: float = FLOODED_PER_S,
    failed: int = 0,
    failed_kernel: int = 0,
    kernel_unflooded: float = 1000,
) -> list[str]:
    """The outcomes of a run in which nothing but this differs from one that reaches all goals, if only just."""
    return outcomes(
        (FRONT_DOOR, 0, load(1000)),
        (FRONT_DOOR, FLOODED_PER_S, load(fresh, flood=(sent, sent), failed=failed)),
        (KERNEL, 0, load(kernel_unflooded)),
        (KERNEL, FLOODED_PER_S, load(kernel_fresh, failed=failed_kernel)),
        (FRONT_DOOR, UNPACED_PER_S, load(1, flood=(200, answered))),
        (KERNEL, UNPACED_PER_S, load(1, flood=(200, 100))),
    )


@pytest.mark.parametrize(
    ("differs", "missed"),
    [
        ({}, []),
        ({"answered": 129}, [0]),
        ({"fresh": 899, "kernel_fresh": 898}, [1]),
        ({"kernel_fresh": 900}, [2]),
        ({"failed": 1}, [3]),
        ({"failed_kernel": 1}, []),
        ({"kernel_unflooded": 1001}, [4]),
        ({"sent": 95_000}, []),
    ],
)
def test_each_goal_has_its_bound(differs: dict[str, float], missed: list[int]) -> None:
    expected = ["missed" if number in missed else "reached" for number in range(len(GOALS))]
    assert run_with(**differs) == expected  # type: ignore[arg-type]


def test_a_flood_that_was_too_weak_decides_only_what_was_missed() -> None:
    undecided = "undecided: 94,999 SYN/s were sent"
    assert run_with(sent=94_999) == ["reached", undecided, undecided, "reached", "reached"]
    assert run_with(sent=94_999, fresh=899) == ["reached", "missed", "missed", "reached", "reached"]


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert outcomes((FRONT_DOOR, 0, load(1000))) == ["not measured"] * 3 + ["reached", "not measured"]
    assert outcomes((KERNEL, 0, load(1000))) == ["not measured"] * 5


def test_one_error_in_one_round_misses_the_goal() -> None:
    rounds = [load(1000)] * 4 + [load(1000, errors=1)]
    assert outcomes(*((FRONT_DOOR, 0, one) for one in rounds))[3] == "missed"


def text_of(results: FloodResults) -> str:
    return as_text(MACHINE, 1, 2, 2, results)


def test_the_text_says_what_answering_costs_without_sending() -> None:
    floods = ((0, 1000), (5000, 500), (10_000, 600))
    measured = [(mode, rate, load(fresh / part)) for mode, part in ((FRONT_DOOR, 2), (CONTROL, 1)) for rate, fresh in floods]
    said = f"{FRONT_DOOR.title}, fresh connections / those while the same flood goes where nobody answers:"
    _, found, rest = text_of(results_of(*measured)).partition(said)
    assert found
    assert rest.partition("\n\n")[0] == "\n  5,000 SYN/s: 0.50 (0.50..0.50)\n  10,000 SYN/s: 0.50 (0.50..0.50)"
    assert said not in text_of(results_of(*measured[:3])), "without the control"


def test_the_control_is_not_compared_with_nft() -> None:
    text = text_of(results_of(*((mode, 0, load(1000)) for mode in (FRONT_DOOR, CONTROL, KERNEL))))
    assert f"{FRONT_DOOR.title} / {KERNEL.title}" in text
    assert f"{CONTROL.title} / {KERNEL.title}" not in text


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
    ratios = text.partition(f"{PROXIED.title} / {KERNEL.title}:\n")[2].splitlines()
    assert [re.split("  +", line.strip())[:2] for line in ratios[1:3]] == [["0", "0.50 (0.50..0.50)"], ["5,000", "-"]]
    assert FRONT_DOOR.title not in text
    assert "goal" not in text, "they are of the mode that answers in the kernel"
    assert "SYNs that were captured and had right checksums: 320\n" in text


def test_the_text_says_which_goals_are_reached() -> None:
    unpaced = (
        (FRONT_DOOR, UNPACED_PER_S, load(5, flood=(200, 150), alone=160)),
        (KERNEL, UNPACED_PER_S, load(4, flood=(200, 125), alone=100)),
    )
    text = text_of(results_of((FRONT_DOOR, 0, load(3000)), (KERNEL, 0, load(2000)), *unpaced))
    ratios = text.partition(f"{FRONT_DOOR.title} / {KERNEL.title}:\n")[2].splitlines()
    assert re.split("  +", ratios[0].strip()) == ["SYN/s wanted", "fresh conn/s", "SYN/s answered", "answered, alone"]
    assert re.split("  +", ratios[2].strip()) == ["unpaced", *(f"{one} ({one}..{one})" for one in ("1.25", "1.20", "1.60"))]
    kernel = KERNEL.title
    assert [line for line in text.splitlines() if line.startswith("goal")] == [
        f"goal, SYNs answered, unpaced: at least 1.3 of {kernel}: 1.20 (1.20..1.20), missed",
        "goal, fresh connections at 100,000 SYN/s: at least 0.9 of unflooded: -, not measured",
        f"goal, fresh connections at 100,000 SYN/s: more than {kernel}: -, not measured",
        "goal, errors of legitimate clients, a measurement: none: 0 (0..0), reached",
        f"goal, fresh connections without a flood: at least 1.0 of {kernel}: 1.50 (1.50..1.50), reached",
    ]
    assert f"{FRONT_DOOR.title}: unpaced SYN/s\n" in text, "where it breaks"
    assert rate_in_words(100_000) == "100,000"
