"""Checks of the kernel parameters by which a host forwards rewritten packets. `edge.sysctl` sets them, and says why."""

from collections.abc import Iterator

from appliance.doctor.commands import set_sysctl
from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import risen, tcp_ext

CONF = "net/ipv4/conf"
FORWARD = "net/ipv4/ip_forward"

_STRICT, _LOOSE = "1", "2"


def of_interface(interface: str, name: str) -> str:
    """The path of a parameter of one interface, or of `all`."""
    return f"{CONF}/{interface}/{name}"


PARAMETERS = ("rp_filter", "accept_local", "send_redirects")


def _severity(snapshot: Snapshot) -> Severity:
    """What the start of the appliance sets is no fault before."""
    return Severity.NOTE if snapshot.is_away else Severity.ERROR


def ip_forward(snapshot: Snapshot) -> Iterator[Finding]:
    """A rewritten packet is routed as one that is forwarded."""
    assert snapshot.sysctls is not None
    if snapshot.sysctls.get(FORWARD) == "0":
        yield Finding(
            _severity(snapshot),
            "",
            "the host does not forward packets, so no rewritten packet goes on",
            "net.ipv4.ip_forward is 0",
            "The appliance sets it when it starts, and puts it back; something else has turned it off.",
            (set_sysctl(FORWARD, "1"),),
        )


def rp_filter(snapshot: Snapshot) -> Iterator[Finding]:
    """The larger of the values of `all` and of the interface counts."""
    for interface, values in _parameters(snapshot, "rp_filter"):
        if max(values) == _STRICT:
            dropped = ""
            if snapshot.samples is not None:
                dropped = f"; {risen(snapshot.samples, tcp_ext('IPReversePathFilter'))} dropped"
            yield Finding(
                _severity(snapshot),
                interface,
                f"the reverse-path filter of {interface} is strict and drops rewritten packets, which come from an address "
                "of the "
                "gateway",
                f"rp_filter is {values[0]} for all and {values[1]} for {interface}{dropped}",
                "Loose (2) is enough. The appliance sets it when it starts, and puts it back; look for what sets it again.",
                (set_sysctl(of_interface(interface, "rp_filter"), _LOOSE),),
            )


def accept_local(snapshot: Snapshot) -> Iterator[Finding]:
    """Either value is enough."""
    for interface, values in _parameters(snapshot, "accept_local"):
        if "1" not in values:
            yield Finding(
                _severity(snapshot),
                interface,
                f"{interface} takes no packet that comes from an address of the gateway, as each rewritten packet does",
                f"accept_local is {values[0]} for all and {values[1]} for {interface}",
                "The appliance sets it when it starts, and puts it back; look for what sets it again.",
                (set_sysctl(of_interface(interface, "accept_local"), "1"),),
            )


def send_redirects(snapshot: Snapshot) -> Iterator[Finding]:
    """It is on when either value is."""
    assert snapshot.setup is not None
    shared = snapshot.setup.sides.shared
    for interface, values in _parameters(snapshot, "send_redirects"):
        if "1" in values:
            places = [place for place, value in zip(("all", interface), values, strict=True) if value == "1"]
            yield Finding(
                Severity.WARNING if interface in shared and not snapshot.is_away else Severity.NOTE,
                interface,
                f"the host may send ICMP redirects out of {interface}, by which hosts on one network learn to go past the "
                "gateway",
                f"send_redirects is {values[0]} for all and {values[1]} for {interface}",
                "The appliance turns it off when it starts, and puts it back; look for what sets it again.",
                tuple(set_sysctl(of_interface(place, "send_redirects"), "0") for place in places),
            )


def _parameters(snapshot: Snapshot, name: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """For each interface of both sides: the values of `all` and of the interface. Those that are gone are left out."""
    assert snapshot.sysctls is not None
    assert snapshot.setup is not None
    of_all = snapshot.sysctls.get(of_interface("all", name), "0")
    for interface in snapshot.setup.sides.all:
        own = snapshot.sysctls.get(of_interface(interface, name))
        if own is not None:
            yield interface, (of_all, own)


_PUT_BACK = (
    "The appliance sets it and puts it back within seconds, unless it may not write it or something else sets it again; while no "
    "appliance runs it is a note."
)

CHECKS = (
    Check(
        "ip_forward_off",
        ip_forward,
        ("sysctls",),
        f"An error while net.ipv4.ip_forward is 0. {_PUT_BACK}",
        "No packet goes from one side to the other.",
    ),
    Check(
        "rp_filter_strict",
        rp_filter,
        ("sysctls", "setup"),
        "An error for each interface of both sides for which the larger of net.ipv4.conf.all.rp_filter and its own value is 1. "
        + _PUT_BACK,
        "A rewritten packet seems to arrive from an address that belongs to the gateway itself.",
    ),
    Check(
        "accept_local_off",
        accept_local,
        ("sysctls", "setup"),
        f"An error for each interface of both sides without accept_local. {_PUT_BACK}",
        "The kernel drops packets that arrive with one of its own addresses as source, and rewritten packets do.",
    ),
    Check(
        "send_redirects_on",
        send_redirects,
        ("sysctls", "setup"),
        "A warning for an interface that both sides share, a note for others, while send_redirects is 1 for it or for all.",
        "On one network, hosts believe a redirect and go past the gateway: their packets then belong to no session.",
    ),
)
