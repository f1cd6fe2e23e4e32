"""All checks, in the order in which a report is written when findings are equally bad."""

from appliance.doctor import (
    access_checks,
    clock_checks,
    forwarding_checks,
    gateway_checks,
    health_checks,
    host_checks,
    network_checks,
    service_checks,
    table_checks,
)

CHECKS = (
    *gateway_checks.CHECKS,
    *forwarding_checks.CHECKS,
    *network_checks.CHECKS,
    *health_checks.CHECKS,
    *service_checks.CHECKS,
    *table_checks.CHECKS,
    *host_checks.CHECKS,
    *clock_checks.CHECKS,
    *access_checks.CHECKS,
)

FAILED = "check_failed"
"""The name of a finding about a check that has failed itself."""
