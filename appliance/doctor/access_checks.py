"""Checks of access lists."""

from collections.abc import Iterator

from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.policy.access_rules import ACCESS_TABLE

_MOST_SERVICES = 5


def missing_sets(snapshot: Snapshot) -> Iterator[Finding]:
    """A deny set without anything in it denies nobody, and an allow set lets nobody in."""
    assert snapshot.setup is not None
    assert snapshot.missing_sets is not None
    for name in snapshot.missing_sets:
        services = snapshot.setup.named_sets.get(name, ())
        shown = ", ".join(services[:_MOST_SERVICES]) + (", …" if len(services) > _MOST_SERVICES else "")
        yield Finding(
            Severity.ERROR,
            name,
            f"the nftables set {name}, which a service names for allow or deny, does not exist or has never been filled",
            f"services: {shown}; the table is ip {ACCESS_TABLE}",
            "Fill it, or correct the name in the configuration. The appliance makes a set that is missing, empty: an empty deny "
            "set denies nobody, and an empty allow set lets nobody in.",
            (f"nft add element ip {ACCESS_TABLE} {name} '{{ 192.0.2.0/24 }}'",),
        )


CHECKS = (
    Check(
        "access_set_missing",
        missing_sets,
        ("setup", "missing_sets"),
        "An error for each nftables set of allow_sets or deny_sets that is not there, or that the appliance has made because it "
        "was not there and that is still empty.",
        "Clients that should be kept out get in, or those that should get in are kept out.",
    ),
)
