"""cli/operator.py and cli/api_client.py: commands against the real API, in front of a gateway that the test sets."""

import asyncio
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from appliance.__main__ import main
from appliance.cli.command_line import CommandLine
from appliance.cli.operator import API_VARIABLE
from appliance.ipc.queries import SessionFilter, ShardDownError
from appliance.ipc.rows import SessionRow, Slab
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import TABLE_FULL
from tests.support.gateway import SESSION, UDP_SESSION
from tests.unit.cli.conftest import ROOT, Operator, Printed, started

FILTER_OPTIONS = ("--client", "198.51.100.0/24", "--service", "web", "--real-server", "192.0.2.101:8080", "--state", "close")
FILTER = SessionFilter("198.51.100.0/24", "web", "192.0.2.101:8080", "CLOSE")

PLACE = f"1-0-3-{bytes(range(12)).hex()}"

MANY = [[SESSION] * 1000] * 1000
"""Far more than fits into all buffers between the API and the reader of a command's output."""

PIPE_BYTES = 4096
"""The size of the test's own pipes: the smallest possible, so that a writer soon has to wait."""

SOME = [[SESSION] * 1000] * 20
"""More than a command reads at once: the rest of an answer that breaks off is not shown."""

EVERY_COMMAND = (
    ("conns",),
    ("cut", "--all"),
    ("top-clients",),
    ("top-services",),
    ("top-real-servers",),
    ("lane",),
    ("slabinfo",),
    ("consistency",),
    ("sockstat",),
    ("conntrack",),
    ("metrics",),
    ("status",),
    ("traffic",),
    ("health",),
    ("drops", "--all"),
    ("counters",),
    ("queues",),
    ("attack",),
    ("persistence",),
    ("events",),
    ("services",),
    ("services", "web"),
    ("servers", "web"),
    ("sysctl",),
    ("sysctl", "tcp_timeout_close"),
    ("sysctl", "tcp_timeout_close=5000"),
    ("host", "sysctl"),
    ("host", "sysctl", "tcp_fin_timeout"),
    ("host", "sysctl", "tcp_fin_timeout", "30"),
)
every_command = pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The readable and the writable end of a pipe; both are closed at the end."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def wait_until_full(writable: int) -> None:
    """Wait until a writer to the pipe has to wait."""
    while select.select([], [writable], [], 0)[1]:
        os.sched_yield()


async def ending(process: asyncio.subprocess.Process) -> tuple[int, bytes]:
    """The exit code of a process, and what it wrote to standard error."""
    _, complaints = await process.communicate()
    assert process.returncode is not None
    return process.returncode, complaints


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_conns_lists_the_sessions_of_every_batch(operator: Operator) -> None:
    operator.gateway.sessions.batches = [[SESSION, UDP_SESSION], [SESSION._replace(state="CLOSE")]]
    assert [line[2] for line in columns(await operator.reads("conns", "--wide"))[2:]] == ["ESTABLISHED", "UDP", "CLOSE"]
    assert operator.gateway.sessions.asked == (SessionFilter(),)


async def test_unix_socket_answers_as_tcp_does(operator: Operator) -> None:
    operator.gateway.sessions.batches = [[SESSION]]
    over_unix = await operator.types("conns", api=operator.unix)
    assert over_unix.out == await operator.reads("conns")
    assert (over_unix.code, over_unix.err) == (0, "")


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("conns",), ()),
        (("cut",), ()),
        (("top-clients",), ("client",)),
        (("top-services",), ("service",)),
        (("top-real-servers",), ("real_server",)),
    ],
)
async def test_filters_are_passed_on(operator: Operator, command: tuple[str, ...], more: tuple[str, ...]) -> None:
    await operator.reads(*command, *FILTER_OPTIONS)
    assert operator.gateway.sessions.asked == (*more, FILTER)


@pytest.mark.parametrize("place", range(4))
async def test_one_filter_says_nothing_of_the_others(operator: Operator, place: int) -> None:
    option, word = FILTER_OPTIONS[2 * place : 2 * place + 2]
    await operator.reads("cut", option, word)
    assert operator.gateway.sessions.asked == (SessionFilter(**{SessionFilter._fields[place]: FILTER[place]}),)


@every_command
async def test_every_command_has_a_json_form(operator: Operator, command: tuple[str, ...]) -> None:
    operator.gateway.sessions.batches = [[SESSION]]
    with pytest.raises(json.JSONDecodeError):
        json.loads(await operator.reads(*command))
    assert await operator.reads_json(*command)


@every_command
async def test_every_text_fits_80_columns(operator: Operator, command: tuple[str, ...]) -> None:
    longest = "255.255.255.255:65535"
    operator.gateway.sessions.batches = [[SESSION._replace(client=longest, vip=longest, real_server=longest, local=longest)]]
    operator.gateway.events.add("drain-deadline", "a-service-with-a-very-long-name", longest, "words " * 30)
    operator.gateway.health.services = [
        service._replace(service="x" * 70, trouble="no real server is up " * 5) for service in operator.gateway.health.services
    ]
    text = await operator.reads(*command)
    assert command == ("metrics",) or max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "path", "asked"),
    [
        (("status",), "/stats/ip_vs", False),
        (("traffic",), "/stats/ip_vs_stats", True),
        (("counters",), "/stats/ext", True),
        (("queues",), "/stats/queues", True),
        (("attack",), "/stats/attack", True),
        (("health",), "/health", True),
        (("persistence",), "/stats/persistence", False),
    ],
    ids=str,
)
async def test_wide_is_the_text_of_the_api(operator: Operator, command: tuple[str, ...], path: str, asked: bool) -> None:
    async with aiohttp.ClientSession() as session, session.get(operator.http + path) as answer:
        text = await answer.text()
    assert await operator.reads(*command, "--wide") == text
    assert (await operator.reads(*command) != text) is asked


async def test_one_counter_is_its_total(operator: Operator) -> None:
    assert await operator.reads("counters", "synproxy_ok_ack") == "0\n"
    assert "the nearest is synproxy_ok_ack" in (await operator.types("counters", "synproxy_ok_akc")).err


async def test_names_of_services_and_real_servers_that_were_probably_meant_are_named(operator: Operator) -> None:
    for words in (("services", "wbe"), ("servers", "wbe"), ("drain", "wbe", "192.0.2.101:8080"), ("conns", "--service", "wbe")):
        assert (await operator.types(*words)).err.endswith("; the nearest is web\n"), words
    for command in ("servers", "drain"):
        said = (await operator.types(command, "web", "192.0.2.101:8081")).err
        assert said.endswith("; the nearest is 192.0.2.101:8080\n"), command


async def test_drops_are_those_that_there_were(operator: Operator) -> None:
    assert await operator.reads("drops") == "every packet was translated\n"
    operator.gateway.shared.table(1, "verdicts")[TABLE_FULL.index] = 7
    assert columns(await operator.reads("drops"))[1][:2] == ["table_full", "7"]
    assert "no_session" in await operator.reads("drops", "--all")


async def test_json_of_conns_is_one_list(operator: Operator) -> None:
    operator.gateway.sessions.batches = [[SESSION], [UDP_SESSION]]
    rows = await operator.reads_json("conns")
    assert isinstance(rows, list)
    assert [row["service"] for row in rows] == ["web", "names"]


async def test_a_page_names_the_next_one_on_standard_error(operator: Operator) -> None:
    operator.gateway.sessions.batches, operator.gateway.sessions.next_page = [[SESSION]], PLACE
    printed = await operator.types("conns", "--limit", "1", *FILTER_OPTIONS)
    assert (printed.code, printed.err) == (0, f"more: --after {PLACE}\n")
    assert len(printed.out.splitlines()) == 3
    assert operator.gateway.sessions.asked == (FILTER, 1, "")
    assert (await operator.types("conns", "--limit", "1", "--json")).err == f"more: --after {PLACE}\n"


async def test_the_last_page_names_no_next_one(operator: Operator) -> None:
    operator.gateway.sessions.batches = [[SESSION]]
    assert len((await operator.reads("conns", "--limit", "7", "--after", PLACE)).splitlines()) == 3
    assert operator.gateway.sessions.asked == (SessionFilter(), 7, PLACE)


@pytest.mark.parametrize(("count", "words"), [(0, "0 sessions cut\n"), (1, "1 session cut\n"), (3, "3 sessions cut\n")])
async def test_cut_says_how_many(operator: Operator, count: int, words: str) -> None:
    operator.gateway.sessions.batches = [[SESSION] * count]
    assert await operator.reads("cut", "--all") == words
    assert operator.gateway.sessions.asked == (SessionFilter(),)
    assert await operator.reads_json("cut", "--all") == {"cut": count}


async def test_cut_without_a_filter_is_refused_by_the_api(operator: Operator) -> None:
    printed = await operator.types("cut")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == ("appliance: say which sessions (client, service, real_server, state), or all=1 for all sessions\n")
    assert operator.gateway.sessions.asked == ()


async def test_top_is_as_long_as_asked_for(operator: Operator) -> None:
    operator.gateway.sessions.counts = Counter({f"198.51.100.{host}": host for host in range(1, 21)})
    assert columns(await operator.reads("top-clients", "-n", "2")) == [
        ["conns", "client"],
        ["20", "198.51.100.20"],
        ["19", "198.51.100.19"],
    ]
    assert len((await operator.reads("top-real-servers")).splitlines()) == 1 + 10


async def test_tables_are_those_of_the_api(operator: Operator) -> None:
    operator.gateway.conntrack = {"count": 17, "max": 262_144}
    assert columns(await operator.reads("slabinfo"))[1][:3] == ["tcp_conn", "5", "7"]
    assert (await operator.reads("consistency")).startswith("wrong: 1\nshard 0: entry 7 ")
    assert "RAW: inuse 2" in await operator.reads("sockstat")
    assert columns(await operator.reads("conntrack"))[1] == ["count", "0", "17"]


async def test_sysctl_lists_reads_and_writes(operator: Operator) -> None:
    assert len((await operator.reads("sysctl")).splitlines()) == 1 + len(TUNABLES)
    assert await operator.reads("sysctl", "tcp_timeout_close") == "tcp_timeout_close = 10000\n"
    assert await operator.reads("sysctl", " tcp_timeout_close = 5000 ") == "tcp_timeout_close = 5000\n"
    assert operator.gateway.shared.tunable("tcp_timeout_close") == 5000
    written = await operator.reads_json("sysctl", "tcp_timeout_close=6000")
    assert isinstance(written, dict)
    assert (written["name"], written["value"]) == ("tcp_timeout_close", 6000)


@pytest.mark.parametrize("prefix", ["net.ipv4.vs.", "net/ipv4/vs/", "/proc/sys/net/ipv4/vs/"])
async def test_sysctl_takes_a_name_as_lvs_has_it(operator: Operator, prefix: str) -> None:
    assert await operator.reads("sysctl", f"{prefix}udp_timeout") == f"{prefix}udp_timeout = 300000\n"
    assert await operator.reads("sysctl", f"{prefix}udp_timeout=5000") == f"{prefix}udp_timeout = 5000\n"
    assert operator.gateway.shared.tunable("udp_timeout") == 5000


async def test_sysctl_shows_the_value_in_force_and_not_the_one_given(operator: Operator) -> None:
    assert await operator.reads("sysctl", "tcp_timeout_close=007000") == "tcp_timeout_close = 7000\n"


@pytest.mark.parametrize("value", ["-5", "5", "fast", "", "5000=6000", "\udcff"])
async def test_a_refused_write_changes_nothing(operator: Operator, value: str) -> None:
    generation = operator.gateway.shared.generation[0]
    printed = await operator.types("sysctl", f"tcp_timeout_close={value}")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith("appliance: tcp_timeout_close: ")
    assert printed.err.endswith("; the value stays 10000\n")
    assert operator.gateway.shared.generation[0] == generation


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("conns", "--state", "ESTABLISH"), "state: there is no 'ESTABLISH'"),
        (("conns", "--client", "198.51.100"), "client: '198.51.100' is no IPv4 endpoint"),
        (("conns", "--client", "\udcff"), "client: "),
        (("conns", "--service", "a&state=CLOSE"), "service: there is no 'a&state=CLOSE'"),
        (("conns", "--limit", "0"), "limit: '0' is out of range 1..10000"),
        (("conns", "--limit", ""), "limit: '' is out of range 1..10000"),
        (("cut", "--real-server", "192.0.2.101:http"), "real_server: '192.0.2.101:http' is no IPv4 endpoint"),
        (("top-clients", "-n", "-1"), "n: '-1' is out of range 1..1000"),
        (("sysctl", "tcp_timeout_clos"), "there is no tunable 'tcp_timeout_clos'; the nearest is tcp_timeout_close"),
        (("sysctl", "tcp_timeout_clos=1000"), "there is no tunable 'tcp_timeout_clos'; the nearest is tcp_timeout_close"),
        (("sysctl", "ext/synproxy_ok_ack"), "there is no tunable 'ext/synproxy_ok_ack'"),
        (("sysctl", ".."), "there is no tunable '..'"),
        (
            ("sysctl", "net.ipv4.tcp_retries2"),
            "there is no tunable 'net.ipv4.tcp_retries2'; net.ipv4.tcp_retries2 is a parameter of the host: /host/",
        ),
        (
            ("sysctl", "/proc/sys/net/ipv4/tcp_retries2=8"),
            "there is no tunable '/proc/sys/net/ipv4/tcp_retries2'; net.ipv4.tcp_retries2 is a parameter of the host",
        ),
        (
            ("host", "sysctl", "udp_timeout"),
            "there is no host parameter 'udp_timeout'; udp_timeout is a tunable of the gateway: /sysctl/udp_timeout",
        ),
        (("host", "sysctl", "tcp_fin_timeou"), "there is no host parameter 'tcp_fin_timeou'; the nearest is tcp_fin_timeout"),
        (("host", "sysctl", "tcp_fin_timeout", "0"), "tcp_fin_timeout: 0 is out of range 1..3600 s; the value stays 60"),
        (("host", "sysctl", "tcp_fin_timeout", "30", "40"), "tcp_fin_timeout: takes one number, and not 2"),
        (("host", "sysctl", "tcp_fin_timeout="), "tcp_fin_timeout: takes one number, and not 0"),
        (("host", "sysctl", ".."), "there is no host parameter '..'"),
        (("host", "sysctl", "\udcff", "1"), "there is no host parameter "),
        (("sysctl", "..=1"), "there is no tunable '..'"),
        (("sysctl", "\udcff"), "there is no tunable "),
    ],
)
async def test_a_refusal_of_the_api_is_printed(operator: Operator, command: tuple[str, ...], complaint: str) -> None:
    for more in ((), ("--json",)):
        printed = await operator.types(*command, *more)
        assert (printed.code, printed.out) == (1, "")
        assert printed.err.startswith(f"appliance: {complaint}")
        assert printed.err.count("\n") == 1
    assert operator.gateway.sessions.asked == ()


async def test_a_worker_that_is_away_is_a_refusal(operator: Operator) -> None:
    operator.gateway.sessions.error = ShardDownError("shard 1 is down")
    assert await operator.types("slabinfo") == (1, "", "appliance: shard 1 is down; the appliance is starting it again\n")


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_a_listing_that_breaks_off_is_no_success(operator: Operator, form: tuple[str, ...]) -> None:
    operator.gateway.sessions.batches, operator.gateway.sessions.error = SOME, RuntimeError("worker died")
    printed = await operator.types("conns", *form)
    assert printed.code == 1
    assert SESSION.client in printed.out
    assert printed.err.startswith("appliance: the answer broke off, so it is not complete: ")
    assert printed.err.count("\n") == 1


async def test_at_a_terminal_the_hint_stands_below_the_page(operator: Operator) -> None:
    operator.gateway.sessions.batches, operator.gateway.sessions.next_page = [[SESSION]], PLACE
    process = await operator.starts("conns", "--limit", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = (await process.communicate())[0].splitlines()
    assert len(lines) == 4
    assert lines[-1] == f"more: --after {PLACE}".encode()


async def answered_by(answer: bytes, operator: Operator, *words: str) -> Printed:
    """The result of a command whose request gets `answer`, from a server that is not an appliance."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        return await operator.types(*words, api=f"http://{host}:{port}")


@pytest.mark.parametrize("form", [(), ("--wide",), ("--json",)], ids=" ".join)
@pytest.mark.parametrize(
    "command",
    [("status",), ("conns",), ("metrics",), ("top-clients",), ("cut", "--all"), ("sysctl", "udp_timeout")],
    ids=" ".join,
)
async def test_nothing_of_an_answer_is_obeyed_by_a_terminal(
    operator: Operator, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    body = '"a \x1b[2J b \x9b1m c \u202e d \x07 e \x7f f \rg"\n'.encode()
    head = b'HTTP/1.1 200 OK\r\nLink: </conns?after=\x9b2J%1b[2J>; rel="next"\r\nContent-Length: '
    printed = await answered_by(head + b"%d\r\n\r\n%b" % (len(body), body), operator, *command, *form)
    assert "[2J b " in printed.out or (command, form) == (("conns",), ())
    assert all(line.isprintable() for text in (printed.out, printed.err) for line in text.split("\n"))
    if "--json" in form:
        assert json.loads(printed.out) == json.loads(body, strict=False)


@pytest.mark.parametrize(
    "command", [("status",), ("health",), ("drops",), ("events",), ("sysctl",), ("host", "sysctl"), ("services",)]
)
async def test_json_in_which_a_string_is_hostile_is_shown_without_what_a_terminal_would_obey(
    operator: Operator, command: tuple[str, ...]
) -> None:
    body = json.dumps(
        {"\x1b[2J": {"total": 1, "value": "\x9b1m", "unit": "\x07"}, "services": [], "events": [], "missing": False}
    )
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    printed = await answered_by(answer, operator, *command)
    assert all(line.isprintable() for text in (printed.out, printed.err) for line in text.split("\n"))


async def test_a_refusal_is_shown_without_what_a_terminal_would_obey(operator: Operator) -> None:
    body = json.dumps({"detail": "\x1b[2J no", "reasons": [{"message": "\x9b1m"}, {"key": "\x07"}]})
    head = "HTTP/1.1 409 -\r\nContent-Type: application/problem+json"
    printed = await answered_by(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode(), operator, "apply")
    assert printed.err == "appliance: ?[2J no\n  ?1m\n  ?: \n"


async def test_what_is_computed_from_an_answer_needs_all_of_it(operator: Operator) -> None:
    printed = await answered_by(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12", operator, "cut", "--all")
    assert (printed.code, printed.out) == (1, "")
    assert "not complete" in printed.err


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "Server disconnected"),
        (b"220 mail ready\r\n", "Expected HTTP/"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404 Not Found"),
        (b"HTTP/1.1 409 -\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}", "answered 409 -"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\nlater", "answered 404 Not Found"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "answered 302 Found"),
        (b"HTTP/1.1 400 -\r\nContent-Type: application/problem+json\r\nContent-Length: 1\r\n\r\n{", "no answer from"),
    ],
)
async def test_an_answer_that_no_appliance_gives_is_an_error_with_the_address(
    operator: Operator, answer: bytes, complaint: str
) -> None:
    printed = await answered_by(answer, operator, "slabinfo")
    assert (printed.code, printed.out) == (1, "")
    assert complaint in printed.err
    assert "http://127.0.0.1:" in printed.err


def assert_unreachable(address: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slabinfo", "--api", address]) == 1
    hint = "is the appliance running, and does its API listen there? --api sets the address"
    assert capsys.readouterr() == ("", f"appliance: no answer from {address}: {reason}; {hint}\n")


def test_an_address_on_which_nothing_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound_only:
        bound_only.bind(("127.0.0.1", 0))
        assert_unreachable(f"http://127.0.0.1:{bound_only.getsockname()[1]}", "Connection refused", capsys)
    assert_unreachable(f"unix:{tmp_path}/api.sock", "No such file or directory", capsys)
    assert_unreachable(f"unix:/{'x' * 200}", "AF_UNIX path too long", capsys)


def test_an_unknown_host_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert_unreachable("http://gateway:9380", "Name or service not known", capsys)


def test_a_connection_that_is_not_accepted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the event loop advances by 1000 s each time it is read, so that 10 s are over at once."""
    with socket.socket() as busy, socket.socket() as first, socket.socket() as second:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        clock = itertools.count(step=1000)
        monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda _: next(clock))
        assert_unreachable(f"http://127.0.0.1:{busy.getsockname()[1]}", "no connection within 10 s", capsys)


async def test_a_reader_may_take_an_hour(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    passed, clock = [0.0], asyncio.BaseEventLoop.time

    async def rows(_: SessionFilter) -> AsyncIterator[list[SessionRow]]:
        yield [SESSION]
        passed[0] += 3600.0
        yield [SESSION]

    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: clock(loop) + passed[0])
    monkeypatch.setattr(operator.gateway.sessions, "rows", rows)
    assert len((await operator.reads("conns")).splitlines()) == 4


async def test_a_listing_is_printed_while_it_is_read_and_head_ends_it_without_a_message(operator: Operator) -> None:
    operator.gateway.sessions.batches = MANY
    with pipe() as (readable, writable):
        process = await operator.starts("conns", stdout=writable)
        assert (await asyncio.to_thread(os.read, readable, 80)).startswith(b"IPVS connection entries\n")
        assert operator.gateway.sessions.batches_taken < len(MANY)
    assert await ending(process) == (141, b"")


@pytest.mark.parametrize("command", [("conns",), ("cut", "--all"), ("sysctl", "tcp_timeout_close")], ids=" ".join)
async def test_output_that_is_closed_at_once_ends_a_command(operator: Operator, command: tuple[str, ...]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    process = await operator.starts(*command, stdout=writable)
    os.close(writable)
    assert await ending(process) == (141, b"")


@pytest.mark.parametrize("unbuffered", [True, False])
@pytest.mark.parametrize("command", [("conntrack",), ("cut", "--all"), ("sysctl", "tcp_timeout_close")], ids=" ".join)
async def test_output_that_does_not_fit_on_the_disk_is_no_success(
    operator: Operator, command: tuple[str, ...], unbuffered: bool, tmp_path: Path
) -> None:
    file = os.open(tmp_path / "list", os.O_WRONLY | os.O_CREAT)
    process = await operator.starts(*command, stdout=file, unbuffered=unbuffered, most_bytes=10)
    os.close(file)
    assert await ending(process) == (1, b"appliance: the answer cannot be written: File too large\n")


async def test_ctrl_c_ends_a_command_that_waits_for_its_reader(operator: Operator) -> None:
    """A page is written in one write, so the pipe is full exactly while the command is in that write."""
    operator.gateway.sessions.batches = [[SESSION] * 60]
    with pipe() as (_, writable):
        process = await operator.starts("conns", "--limit", "60", stdout=writable)
        await asyncio.to_thread(wait_until_full, writable)
        process.send_signal(signal.SIGINT)
        assert await ending(process) == (130, b"")


async def test_ctrl_c_ends_a_command_that_waits_for_the_appliance(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def slabs() -> list[list[Slab]]:
        asked.set()
        await over.wait()
        return []

    monkeypatch.setattr(operator.gateway.sessions, "slabs", slabs)
    process = await operator.starts("slabinfo", stdout=subprocess.DEVNULL)
    await asked.wait()
    process.send_signal(signal.SIGINT)
    assert await ending(process) == (130, b"")
    over.set()


CTRL_C_WITH_OUTPUT_LEFT = """
import sys
from appliance.cli import api_client
from appliance.__main__ import main
def asked(*_, **__):
    sys.stdout.write("left")
    raise KeyboardInterrupt
api_client.asked = asked
sys.exit(main(["slabinfo"]))
"""


async def test_ctrl_c_does_not_wait_for_output_that_is_left() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = await started([sys.executable, "-c", CTRL_C_WITH_OUTPUT_LEFT], stdout=full)
    os.close(full)
    assert await ending(process) == (130, b"")


@pytest.mark.parametrize(
    "words", [("--help",), ("conns", "--help"), ("completion", "bash"), ("render-nft", "--config", "etc/lvs.toml")]
)
async def test_whoever_reads_only_the_head_sees_no_error(words: tuple[str, ...]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    process = await started([sys.executable, "-m", "appliance", *words], stdout=writable)
    os.close(writable)
    assert await ending(process) == (141, b"")


CTRL_C_ON_THIS_HOST = """
import sys
from appliance import host_commands
from appliance.__main__ import main
def interrupted(_):
    raise KeyboardInterrupt
host_commands.load = interrupted
sys.exit(main(["check", "etc/lvs.toml"]))
"""


async def test_ctrl_c_ends_a_command_that_asks_nobody_without_a_word() -> None:
    process = await started([sys.executable, "-c", CTRL_C_ON_THIS_HOST], stdout=subprocess.DEVNULL)
    assert await ending(process) == (130, b"")


async def test_address_of_the_environment(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_VARIABLE, operator.unix)
    assert await asyncio.to_thread(main, ["sysctl", "tcp_timeout_close=5000"]) == 0
    assert operator.gateway.shared.tunable("tcp_timeout_close") == 5000
    monkeypatch.setenv(API_VARIABLE, "unix:/dev/null/nobody")
    assert (await operator.types("sysctl", "tcp_timeout_close=6000")).code == 0
    assert operator.gateway.shared.tunable("tcp_timeout_close") == 6000


def test_the_default_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_VARIABLE, raising=False)
    assert CommandLine().parse_args(["conns"]).api == "unix:/run/appliance/api.sock"
    monkeypatch.setenv(API_VARIABLE, "")
    assert CommandLine().parse_args(["conns"]).api == "unix:/run/appliance/api.sock"


WRONG_ADDRESSES = (
    "",
    "127.0.0.1:9380",
    "ftp://127.0.0.1:9380",
    "http://",
    "http://:9380",
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:9380/conns",
    "http://127.0.0.1:9380?limit=1",
    "http://127.0.0.1:9380#top",
    "http://me@127.0.0.1:9380",
    "http://[::1",
    "unix:api.sock",
)


@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_what_can_be_no_address_is_a_wrong_command_line(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = complaint_of(["conns", "--api", address], capsys)
    assert said.endswith(f"{address!r} is neither http://HOST:PORT nor https://HOST:PORT nor unix:/path")
    if address:
        monkeypatch.setenv(API_VARIABLE, address)
        assert repr(address) in complaint_of(["conns"], capsys)


@pytest.mark.parametrize(
    "words",
    [("conns", "web"), ("conns", "--all"), ("top-clients", "--limit", "1"), ("cut", "-n", "1"), ("slabinfo", "--client", "x")],
    ids=" ".join,
)
def test_commands_refuse_options_that_they_do_not_use(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments" in complaint_of([*words, "--api", "unix:/dev/null/nobody"], capsys)


def complaint_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of the error message for a wrong command line."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_other_commands_do_not_wait_for_an_http_client() -> None:
    program = "import sys; from appliance.__main__ import main; main(['check', 'etc/lvs.toml']); print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
