"""Checks of the clocks of the machine."""

from collections.abc import Iterator
from itertools import pairwise

from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity

SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
"""Clock sources that cost a microsecond and more for each look, and no process can read by itself."""

STEP_S = 1.0


def clock_source(snapshot: Snapshot) -> Iterator[Finding]:
    """Of the whole machine."""
    assert snapshot.clock is not None
    source, available = snapshot.clock
    if source in SLOW_CLOCKS:
        better = [name for name in available if name not in SLOW_CLOCKS]
        path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        yield Finding(
            Severity.WARNING,
            "",
            "the kernel reads the time from a slow clock, and the appliance reads the time for each packet",
            f"clock source {source}, available: {' '.join(available)}",
            "A faster one that the kernel has given up was found unsteady: see dmesg. A virtual machine gets one from its host.",
            tuple(f"echo {name} > {path}" for name in better[:1]),
        )


def clock_steps(snapshot: Snapshot) -> Iterator[Finding]:
    """Nothing in the appliance goes by this clock but its log."""
    assert snapshot.samples is not None
    offsets = [sample.wall_s - sample.at_s for sample in snapshot.samples]
    steps = [after - before for before, after in pairwise(offsets) if abs(after - before) >= STEP_S]
    if steps:
        yield Finding(
            Severity.NOTE,
            "",
            "the time of day was set while the appliance ran, so times in its log cannot be compared over that moment",
            f"{len(steps)} times, at most by {max(steps, key=abs):+.1f} s",
            "Let chrony or systemd-timesyncd keep the clock: they slew it in place of setting it. Sessions do not go by it.",
        )


CHECKS = (
    Check(
        "clock_source_slow",
        clock_source,
        ("clock",),
        f"A warning when the kernel's clock source is one of {', '.join(SLOW_CLOCKS)}.",
        "Each packet costs a look at the clock.",
    ),
    Check(
        "clock_set",
        clock_steps,
        ("samples",),
        f"A note when the time of day has moved by {STEP_S:.0f} s or more against the monotonic clock within the last ten "
        "minutes.",
        "Logs of two machines, or of two moments, are compared by it.",
    ),
)
