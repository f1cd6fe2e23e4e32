"""Checks of services: what they are set to do, and what their clients are refused."""

from collections.abc import Iterator

from appliance.doctor.commands import write_tunable
from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.history import counted, risen
from appliance.ipc.plan import ServicePlan
from appliance.model.counters import EXT_COUNTERS, TOA_FAIL_LEN
from appliance.model.verdicts import NO_LOCAL_ADDRESS, NO_REAL_SERVER, SOURCE_LIMIT, STALE_ANSWER

_TOA_FAILED = EXT_COUNTERS[TOA_FAIL_LEN].name

SERVER_SPEAKS_FIRST = {
    21: "FTP",
    22: "SSH",
    23: "Telnet",
    25: "SMTP",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    587: "SMTP submission",
    873: "rsync",
    3306: "MySQL",
    4190: "ManageSieve",
    5900: "VNC",
}
"""TCP ports on which the server greets its client before the client sends anything."""


def refusals(snapshot: Snapshot) -> Iterator[Finding]:
    """Those for which there is no check of their own."""
    assert snapshot.samples is not None
    for verdict in (NO_REAL_SERVER, NO_LOCAL_ADDRESS, SOURCE_LIMIT):
        rise = risen(snapshot.samples, counted(verdict.name))
        if rise.by:
            yield Finding(
                Severity.WARNING,
                verdict.name,
                f"connections of clients are {verdict.summary}",
                f"{rise} ({verdict.name})",
                verdict.remedy,
            )


def deferred(snapshot: Snapshot) -> Iterator[Finding]:
    """Client and server wait for each other until one of them gives up."""
    assert snapshot.setup is not None
    by_tunable = snapshot.setup.tunables["synproxy_defer"]
    for service in snapshot.setup.services:
        port, protocol = _greeting(service)
        defers = by_tunable if service.synproxy_defer is None else service.synproxy_defer
        if service.protocol != "tcp" or service.synproxy == "never" or not defers or not protocol:
            continue
        in_file = service.synproxy_defer is not None
        yield Finding(
            Severity.ERROR,
            service.name,
            f"clients of {service.name} wait for a greeting that never comes: SYNPROXY waits for their data first",
            f"port {port} is {protocol}, where the server speaks first; synproxy is {service.synproxy}, synproxy_defer is "
            f"{defers}" + (" in the configuration" if in_file else " by the tunable"),
            "Set synproxy_defer = 0 for this service in the configuration, and restart."
            + ("" if in_file else " The command does it at once, for all services that do not say otherwise."),
            () if in_file else (write_tunable("synproxy_defer", 0),),
        )


def _greeting(service: ServicePlan) -> tuple[int, str]:
    """The port, of the service or of one of its real servers, on which the server speaks first, and what is spoken there."""
    ports = [service.port, *(server.port for server in service.real_servers)]
    return next(((port, SERVER_SPEAKS_FIRST[port]) for port in ports if port in SERVER_SPEAKS_FIRST), (0, ""))


def timestamps_kept(snapshot: Snapshot) -> Iterator[Finding]:
    """The clocks of all clients meet behind the local addresses."""
    assert snapshot.setup is not None
    if snapshot.setup.tunables["fullnat_timestamp_remove_entry"]:
        return
    rise = risen(snapshot.samples, counted(STALE_ANSWER.name)) if snapshot.samples else None
    rejected = rise is not None and rise.by > 0
    evidence = "fullnat_timestamp_remove_entry is 0"
    if rejected:
        evidence += f"; real servers answered for an older connection: {rise} ({STALE_ANSWER.name})"
    yield Finding(
        Severity.ERROR if rejected else Severity.WARNING,
        "",
        "clients keep their timestamps behind the gateway's few local addresses: a real server rejects the SYN of one whose "
        "clock "
        "is behind (PAWS)",
        evidence,
        "Take the option off the SYN. Real servers count what they reject: nstat -az 'TcpExtPAWS*'.",
        (write_tunable("fullnat_timestamp_remove_entry", 1),),
    )


def left_out_addresses(snapshot: Snapshot) -> Iterator[Finding]:
    """The option needs eight bytes among the options of a packet, and in the packet itself."""
    assert snapshot.samples is not None
    rise = risen(snapshot.samples, counted(_TOA_FAILED))
    if rise.by:
        yield Finding(
            Severity.NOTE,
            "",
            "packets went on without the client-address option, because there was no room for it",
            f"{rise} ({_TOA_FAILED})",
            "A few are normal when packets are lost: the options then list what has arrived. Many mean that the MTU to the real "
            "servers is too small.",
        )


CHECKS = (
    Check(
        "connections_refused",
        refusals,
        ("samples", "running"),
        "A warning when no_real_server, no_local_address or source_limit have risen within the last minute.",
        "Clients get an error.",
    ),
    Check(
        "deferred_greeting",
        deferred,
        ("setup",),
        "An error for each TCP service with SYNPROXY and synproxy_defer 1 on a port where the server speaks first: "
        f"{', '.join(f'{port} ({name})' for port, name in SERVER_SPEAKS_FIRST.items())}.",
        "The session opens with the client's first data, and the client waits for the server's.",
    ),
    Check(
        "timestamps_kept",
        timestamps_kept,
        ("setup",),
        "A warning while fullnat_timestamp_remove_entry is 0; an error when real servers have answered a SYN for an older "
        "connection within the last minute.",
        "All clients share the local addresses, so for a real server they are one host whose clock jumps.",
    ),
    Check(
        "client_addresses_left_out",
        left_out_addresses,
        ("samples", "running"),
        "A note when fullnat_add_toa_fail_len has risen within the last minute.",
        "The real server does not learn the address of a client from that packet; mostly another one of the connection has it.",
    ),
)
