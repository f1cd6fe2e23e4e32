"""Checks of the host's own TCP: its parameters, and what its counters say.

Sources: Documentation/networking/ip-sysctl.rst of Linux; RFC 7323, 5 (PAWS).
"""

from collections.abc import Iterator

from appliance.doctor.commands import set_sysctl
from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import risen, tcp_ext

TW_RECYCLE = "net/ipv4/tcp_tw_recycle"
FIN_TIMEOUT = "net/ipv4/tcp_fin_timeout"
PORT_RANGE = "net/ipv4/ip_local_port_range"
SOMAXCONN = "net/core/somaxconn"
SYN_BACKLOG = "net/ipv4/tcp_max_syn_backlog"
SYSCTLS = (TW_RECYCLE, FIN_TIMEOUT, PORT_RANGE, SOMAXCONN, SYN_BACKLOG)

USUAL_FIN_TIMEOUT_S = 60
PAWS_PER_S = 0.1
"""A client here and there comes back with an old clock. Six a minute and more are a pattern."""

PAWS_COUNTERS = ("PAWSActive", "PAWSEstab", "PAWSPassive", "PAWSTimewait")
"""Of `TcpExt`. Older kernels count a SYN that a TIME_WAIT rejects under PAWSEstab."""

_FEWEST_HOST_PORTS = 1000
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65535


def tw_recycle(snapshot: Snapshot) -> Iterator[Finding]:
    """The parameter exists before Linux 4.12 only."""
    assert snapshot.sysctls is not None
    value = snapshot.sysctls.get(TW_RECYCLE, "0")
    if value != "0":
        yield Finding(
            Severity.ERROR,
            "",
            "the host drops SYNs of clients behind a NAT, because it expects one clock of all clients of an address",
            f"net.ipv4.tcp_tw_recycle is {value}",
            "Turn it off; TIME_WAIT sockets do no harm.",
            (set_sysctl(TW_RECYCLE, "0"),),
        )


def fin_timeout(snapshot: Snapshot) -> Iterator[Finding]:
    """A lowered value is nearly always meant for TIME_WAIT."""
    assert snapshot.sysctls is not None
    value = snapshot.sysctls.get(FIN_TIMEOUT, "")
    if value.isdigit() and int(value) < USUAL_FIN_TIMEOUT_S:
        yield Finding(
            Severity.NOTE,
            "",
            "net.ipv4.tcp_fin_timeout was lowered: it is the time of FIN_WAIT_2 and shortens no TIME_WAIT, nor any session here",
            f"{value} s, usual {USUAL_FIN_TIMEOUT_S} s",
            "For sessions of the gateway there are tcp_timeout_time_wait and tcp_timeout_fin_wait (appliance sysctl).",
            (set_sysctl(FIN_TIMEOUT, str(USUAL_FIN_TIMEOUT_S)),),
        )


def paws(snapshot: Snapshot) -> Iterator[Finding]:
    """The host's own connections only: what real servers reject is counted there."""
    assert snapshot.samples is not None
    rise = risen(snapshot.samples, tcp_ext(*PAWS_COUNTERS))
    if rise.per_s >= PAWS_PER_S:
        yield Finding(
            Severity.WARNING,
            "",
            "this host's own TCP rejects packets because their timestamps are older than the last ones from that address (PAWS)",
            f"{rise} (TcpExt {', '.join(PAWS_COUNTERS)})",
            "Many hosts with different clocks connect to this host itself from behind one address. It is not about sessions "
            "of the "
            "gateway. Let them come from addresses of their own, or do without timestamps here.",
            (set_sysctl("net/ipv4/tcp_timestamps", "0"),),
        )


def local_port_overlap(snapshot: Snapshot) -> Iterator[Finding]:
    """The two ranges may overlap as long as the host itself sends from no local address."""
    assert snapshot.sysctls is not None
    assert snapshot.setup is not None
    assert snapshot.paths is not None
    local = {address for pool in snapshot.setup.pools.values() for address in pool}
    used = sorted({path.source for path in snapshot.paths.values() if path is not None and path.source in local})
    low, high = snapshot.setup.tunables["fullnat_lport_min"], snapshot.setup.tunables["fullnat_lport_max"]
    words = snapshot.sysctls.get(PORT_RANGE, "").split()
    if not used or len(words) != 2 or int(words[0]) > high or int(words[1]) < low:
        return
    yield Finding(
        Severity.WARNING,
        used[0],
        "the host opens its own connections to real servers from a local address, and from ports that sessions use as well",
        f"net.ipv4.ip_local_port_range is {words[0]}..{words[1]}, fullnat_lport_min..max is {low}..{high}",
        "Give the server interface an address of its own before the local addresses, or keep the two ranges apart.",
        _apart(low, high),
    )


def _apart(low: int, high: int) -> tuple[str, ...]:
    """The command that gives the host the larger part of what `low`..`high` leaves; none when it leaves too little."""
    ranges = [(_FIRST_FREE_PORT, low - 1), (high + 1, _LAST_PORT)]
    first, last = max(ranges, key=lambda ends: ends[1] - ends[0])
    return (set_sysctl(PORT_RANGE, f"{first} {last}"),) if last - first + 1 >= _FEWEST_HOST_PORTS else ()


def syncookies_sent(snapshot: Snapshot) -> Iterator[Finding]:
    """A connection opened by a cookie loses its options unless timestamps carry them."""
    yield from _overflow(
        snapshot,
        "SyncookiesSent",
        "a listening socket of this host had its SYN queue full and answered with SYN cookies",
        (SYN_BACKLOG, SOMAXCONN),
    )


def listen_overflows(snapshot: Snapshot) -> Iterator[Finding]:
    """The program that listens does not accept fast enough."""
    yield from _overflow(
        snapshot,
        "ListenOverflows",
        "a listening socket of this host had its accept queue full, and connections to it were dropped",
        (SOMAXCONN,),
    )


def _overflow(snapshot: Snapshot, counter: str, problem: str, limits: tuple[str, ...]) -> Iterator[Finding]:
    assert snapshot.samples is not None
    assert snapshot.sysctls is not None
    rise = risen(snapshot.samples, tcp_ext(counter))
    if rise.by:
        values = {path: snapshot.sysctls[path] for path in limits if snapshot.sysctls.get(path, "").isdigit()}
        shown = ", ".join(f"{path.replace('/', '.')} is {value}" for path, value in values.items())
        yield Finding(
            Severity.WARNING,
            "",
            f"{problem}; services of the gateway are not concerned",
            f"{rise} (TcpExt {counter}); {shown}",
            "`ss -ltn` shows the queue (Recv-Q against Send-Q). The program takes a larger limit when it listens anew, and "
            "has to "
            "ask for it.",
            tuple(set_sysctl(path, str(2 * int(value))) for path, value in values.items()),
        )


CHECKS = (
    Check(
        "tcp_tw_recycle",
        tw_recycle,
        ("sysctls",),
        "An error while net.ipv4.tcp_tw_recycle is not 0; Linux has it no more since 4.12.",
        "With it the kernel remembers one timestamp for each address, and drops the SYNs of all clients behind a NAT whose "
        "clocks "
        "are behind that.",
    ),
    Check(
        "fin_timeout_lowered",
        fin_timeout,
        ("sysctls",),
        f"A note while net.ipv4.tcp_fin_timeout is below {USUAL_FIN_TIMEOUT_S}.",
        "It is the time of FIN_WAIT_2, and is often taken for that of TIME_WAIT, which Linux has no parameter for.",
    ),
    Check(
        "paws_rejections",
        paws,
        ("samples",),
        f"A warning when the host's own TCP has rejected {PAWS_PER_S * 60:.0f} packets a minute or more for their timestamps.",
        "Connections to the host hang while their SYN is dropped.",
    ),
    Check(
        "local_port_overlap",
        local_port_overlap,
        ("sysctls", "setup", "paths"),
        "A warning when net.ipv4.ip_local_port_range overlaps fullnat_lport_min..fullnat_lport_max, and the host would send to a "
        "real server from a local address.",
        "Answers to the host's own connections come to a shard, which may have given the same port to a session.",
    ),
    Check(
        "syncookies_sent",
        syncookies_sent,
        ("samples", "sysctls"),
        "A warning when TcpExt SyncookiesSent has risen within the last minute.",
        "A service of the host itself, for instance the API, is flooded or too slow.",
    ),
    Check(
        "listen_overflows",
        listen_overflows,
        ("samples", "sysctls"),
        "A warning when TcpExt ListenOverflows has risen within the last minute.",
        "Clients of a service of the host itself wait, and try again.",
    ),
)
