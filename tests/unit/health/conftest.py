"""A check, for tests that make none."""

from appliance.health.check import Check

CHECK = Check(
    kind="tcp",
    port=80,
    sources=("192.0.2.10",),
    own_ports=True,
    interval_s=2.0,
    fast_interval_s=0.5,
    timeout_s=1.0,
    rise=2,
    fall=3,
)
