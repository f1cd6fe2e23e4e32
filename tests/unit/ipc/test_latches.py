"""ipc/latches.py: which services have latches, and which ones."""

from dataclasses import replace

import pytest

from appliance.ipc.latches import first_latches, may_have_latch
from appliance.ipc.plan import ServicePlan

WEB = ServicePlan("web", "203.0.113.10", 80, "rr", (), (), synproxy="auto")
OTHERS = [
    replace(WEB, synproxy="never"),
    replace(WEB, synproxy="always"),
    replace(WEB, protocol="udp"),
    replace(WEB, lane=False),
]


def test_only_services_in_auto_that_the_lane_may_carry_have_some() -> None:
    """One that is guarded has no front door, but strays as any other."""
    assert may_have_latch(WEB)
    assert may_have_latch(replace(WEB, guarded=True))
    assert not any(map(may_have_latch, OTHERS))


def test_each_service_has_one_for_each_shard_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    services = [replace(WEB, name=name) for name in ("c", "a", "b")]
    assert first_latches([*services, *OTHERS], 4) == first_latches(reversed(services), 4) == {"a": 0, "b": 4, "c": 8}
    monkeypatch.setattr("appliance.ipc.latches.LATCHES", 11)
    assert first_latches(services, 4) == {"a": 0, "b": 4}
