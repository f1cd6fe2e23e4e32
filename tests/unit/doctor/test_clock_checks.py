"""clock_checks.py: where the time comes from, and whether it jumps."""

import pytest

from appliance.doctor.facts import Clock
from appliance.doctor.finding import Severity
from tests.support.patient import found, patient, sample, severity

OK, NOTE, WARNING, ERROR = Severity


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tsc", OK),
        ("kvm-clock", OK),
        ("arch_sys_counter", OK),
        ("hyperv_clocksource_tsc_page", OK),
        ("hpet", WARNING),
        ("acpi_pm", WARNING),
        ("jiffies", WARNING),
    ],
)
def test_clock_sources(source: str, expected: Severity) -> None:
    assert severity("clock_source_slow", patient(clock=Clock(source, (source,)))) == expected


@pytest.mark.parametrize(("available", "better"), [(("hpet", "acpi_pm"), None), (("hpet", "tsc"), "tsc")])
def test_a_better_source_is_named_when_there_is_one(available: tuple[str, ...], better: str | None) -> None:
    [finding] = found("clock_source_slow", patient(clock=Clock("hpet", available)))
    path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert finding.commands == (() if better is None else (f"echo {better} > {path}",))


@pytest.mark.parametrize(("step", "expected"), [(0, OK), (0.9, OK), (1.0, NOTE), (-1.0, NOTE)])
def test_steps_of_the_clock(step: float, expected: Severity) -> None:
    samples = (sample(0), sample(10), sample(20, wall_s=1e6 + 20 + step), sample(30, wall_s=1e6 + 30 + step))
    assert severity("clock_set", patient(samples=samples)) == expected


def test_slow_slewing_is_no_step() -> None:
    samples = tuple(sample(place * 10, wall_s=1e6 + place * 10.5) for place in range(10))
    assert severity("clock_set", patient(samples=samples)) == OK
