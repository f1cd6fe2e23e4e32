"""`[service.health_check]`: how real servers are checked."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from appliance.config.problems import ConfigProblem, KeyPath
from appliance.config.table import Table
from appliance.config.values import Allowed, HostAddress, Listed, OneOf, Range
from appliance.health.check import KINDS
from appliance.health.status import ranges
from appliance.policy.candidates import ON_DOWN, WHEN_NONE_HEALTHY

_METHODS = ("GET", "HEAD", "OPTIONS")
_LONGEST_TEXT = 1024
_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_SNI = re.compile(r"[A-Za-z0-9._-]+")

_HTTP, _TLS, _UDP, _COMMAND = ("http", "https"), ("https",), ("udp",), ("command",)


def _only_for(*kinds: str) -> BeforeValidator:
    def check(value: object, table: ValidationInfo) -> object:
        kind = table.data.get("type")
        if kind is not None and kind not in kinds:
            raise ValueError(f"is not possible with type {kind}: it is for {', '.join(kinds)}")
        return value

    return BeforeValidator(check)


def _text(pattern: re.Pattern[str], rule: str) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) > _LONGEST_TEXT or not pattern.fullmatch(value):
            raise ValueError(f"is not {rule}, of at most {_LONGEST_TEXT} characters")
        return value

    return AfterValidator(check)


def _status_set(value: str) -> str:
    ranges(value)
    return value


def _bytes_in(value: str) -> str:
    if len(value) > _LONGEST_TEXT or any(ord(character) > 0xFF for character in value):
        raise ValueError(f"has more than {_LONGEST_TEXT} characters, or one beyond U+00FF: each stands for one byte")
    return value


def _body(value: str, table: ValidationInfo) -> str:
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"has more than {_LONGEST_TEXT} characters")
    if table.data.get("method") == "HEAD":
        raise ValueError("is not possible with method HEAD, whose answer has no body")
    return value


def _at_most(other: str) -> AfterValidator:
    def check(value: float, table: ValidationInfo) -> float:
        limit = table.data.get(other)
        if limit is not None and value > limit:
            raise ValueError(f"is above {other}, which is {limit}")
        return value

    return AfterValidator(check)


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a NUL in it")
    return value


def _program(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0].startswith("/"):
        raise ValueError("does not begin with the absolute path of a program")
    return value


_ByteText = Annotated[str, AfterValidator(_bytes_in)]


class HealthCheck(Table):
    """`[service.health_check]`, or the table of that name of one real server."""

    type: Annotated[
        str,
        OneOf(KINDS),
        Field(
            description="What is asked. tcp: a connection. http, https: a request. udp: a datagram, which may not be refused, "
            "and may have to be answered. icmp: an echo. command: a program of yours; exit code 0 says that all is well."
        ),
    ]
    interval_s: Annotated[
        float,
        Range(0.1, 3600.0, "s"),
        Field(description="From the beginning of a check to that of the next one; up to a tenth of it less, by chance."),
    ] = 2.0
    fast_interval_s: Annotated[
        Annotated[float, Range(0.05, 3600.0, "s"), _at_most("interval_s")] | None,
        Allowed("0.05..3600.0, and not above interval_s", default="a quarter of interval_s, and 0.05 at least"),
        Field(
            description="The same while the state may be about to change: after an answer that speaks against it, and until the "
            "first answer. In seconds."
        ),
    ] = None
    timeout_s: Annotated[
        Annotated[float, Range(0.05, 3600.0, "s"), _at_most("interval_s")] | None,
        Allowed("0.05..3600.0, and not above interval_s", default="1.0, or interval_s if that is less"),
        Field(description="How long the whole check may take, in seconds."),
    ] = None
    rise: Annotated[
        int,
        Range(1, 1000),
        Field(description="So many checks in a row must pass before a real server that is down is up again."),
    ] = 2
    fall: Annotated[
        int,
        Range(1, 1000),
        Field(description="So many checks in a row must fail before a real server that is up is down."),
    ] = 3
    port: Annotated[
        Annotated[int, Range(1, 65535)] | None,
        _only_for("tcp", "http", "https", "udp", "command"),
        Allowed("1..65535", default="the port of the real server"),
        Field(description="The port that is asked."),
    ] = None
    source: Annotated[
        HostAddress | None,
        Allowed("an IPv4 address in quotes", default="the local addresses of the service, in turn"),
        Field(
            description="The address from which checks come: an address of the gateway, and no VIP. From a local address a check "
            "takes the way of the traffic."
        ),
    ] = None
    method: Annotated[str, _only_for(*_HTTP), OneOf(_METHODS), Field(description="The method of the request.")] = "GET"
    path: Annotated[
        str,
        _only_for(*_HTTP),
        _text(_PATH, "a path that begins with a slash, in ASCII and without blanks"),
        Allowed("a path that begins with a slash; a query may follow"),
        Field(description="The path that is asked for."),
    ] = "/"
    host: Annotated[
        str,
        _only_for(*_HTTP),
        _text(_HOST, "a host name or address, with or without a port"),
        Allowed("a host name or an address, with or without a port", default="address and port of the real server"),
        Field(description="The header Host of the request."),
    ] = ""
    expect_status: Annotated[
        str,
        _only_for(*_HTTP),
        AfterValidator(_status_set),
        Allowed('status codes and ranges of them, such as "200-399,404"'),
        Field(description="The status codes with which the check passes. A redirection is not followed."),
    ] = "200-399"
    expect_body: Annotated[
        str,
        _only_for(*_HTTP),
        AfterValidator(_body),
        Allowed("a text of at most 1024 characters"),
        Field(description="A text that the first 64 KiB of the body must contain; empty: any body will do."),
    ] = ""
    tls_verify: Annotated[
        bool,
        _only_for(*_TLS),
        Allowed("true or false"),
        Field(
            description="Whether the certificate must be valid, and of the name in `sni`, or of the real server's address. "
            "false: any certificate will do."
        ),
    ] = True
    sni: Annotated[
        str,
        _only_for(*_TLS),
        _text(_SNI, "a host name"),
        Allowed("a host name", default="the name in `host`, if it is one"),
        Field(description="The name of the server that TLS asks for."),
    ] = ""
    send: Annotated[
        _ByteText,
        _only_for(*_UDP),
        Allowed("a text of at most 1024 characters up to U+00FF, each of which is one byte"),
        Field(description="The payload of the datagram. TOML writes the byte 00 as \\u0000."),
    ] = ""
    expect: Annotated[
        _ByteText,
        _only_for(*_UDP),
        Allowed("a text as `send`"),
        Field(
            description="What the answer must contain. Empty: no answer is needed, and the check fails only when the real "
            "server, or a router, refuses the datagram with an ICMP error."
        ),
    ] = ""
    command: Annotated[
        Listed[Annotated[str, AfterValidator(_argument)]],
        AfterValidator(_program),
        _only_for(*_COMMAND),
        Allowed("a list: the absolute path of a program, and its arguments", default="required with type command"),
        Field(
            description="The program. It runs without a shell, as the user of the appliance, and is killed with all that it has "
            "started when its time is over. Its environment says which real server is meant."
        ),
    ] = ()


# Keys of a service and of its real servers that say what follows from health.
Backup = Annotated[
    bool,
    Allowed("true or false"),
    Field(description="true: it gets new sessions only while fewer than `quorum` of those that are no backups are up."),
]
WhenNoneHealthy = Annotated[
    str,
    OneOf(WHEN_NONE_HEALTHY),
    Field(
        description="What becomes of new sessions while no real server is healthy and no backup is up. refuse: clients are "
        "answered with RST, or with ICMP port unreachable for UDP. drop: they are not answered. all: all real servers that "
        "are no backups get sessions, as if they were up."
    ),
]
Quorum = Annotated[
    int,
    Range(1, 65535),
    Field(
        description="While fewer real servers are up than this (those that are no backups, and have a weight above 0), none "
        "of the service counts as healthy."
    ),
]
OnDown = Annotated[
    str,
    OneOf(ON_DOWN),
    Field(
        description="What becomes of the TCP sessions of a real server that is down. leave: they go on, if they can. expire: "
        "each ends at its client's next packet, with RST to both ends. reset: all of them end at once. A UDP client whose "
        "real server is down goes to another one with its next datagram, whatever stands here."
    ),
]


def check_problems(checks: Iterable[tuple[KeyPath, HealthCheck | None]], vips: set[IPv4Address]) -> Iterator[ConfigProblem]:
    """Problems of checks that would come from a VIP, or that have no command; each check comes with its place."""
    for path, check in checks:
        yield from _problems_of(path, check, vips)


def _problems_of(path: KeyPath, check: HealthCheck | None, vips: set[IPv4Address]) -> Iterator[ConfigProblem]:
    if check is None:
        return
    if check.source in vips:
        yield ConfigProblem((*path, "source"), check.source, f"{check.source} is a VIP: answers to it belong to clients")
    if check.type == "command" and not check.command:
        yield ConfigProblem((*path, "command"), None, 'is required with type "command"')
