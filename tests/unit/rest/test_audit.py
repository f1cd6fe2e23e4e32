"""rest/audit.py: one line for each write, done or refused; nobody can forge a line, and a flood of them loses no count."""

import json
import logging
import re

import pytest

from appliance.rest import audit
from appliance.rest.audit import BURST, LINES_PER_S, AuditLog
from tests.support.api_answers import Client
from tests.support.gateway import SESSION, FakeGateway

TUNABLE = "/sysctl/tcp_timeout_established"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="appliance.audit")
    return caplog


def facts(line: str) -> dict[str, str]:
    """What a line says; it has nothing else, and each value is JSON."""
    pairs = re.findall(r'([a-z]+)=("(?:[^"\\]|\\.)*")', line)
    assert " ".join(f"{name}={value}" for name, value in pairs) == line
    return {name: json.loads(value) for name, value in pairs}


async def test_a_write_is_a_line_with_all_that_matters(client: Client, lines: pytest.LogCaptureFixture) -> None:
    await client.put(TUNABLE, data=b"5000")
    [record] = lines.records
    said = facts(record.message)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", said.pop("from"))
    assert said == {
        "by": "user root (0)",
        "what": f"PUT {TUNABLE}",
        "before": "900000",
        "asked": "5000",
        "after": "5000",
        "outcome": "200 OK",
    }
    assert record.levelno == logging.INFO


async def test_the_end_of_sessions_is_a_line(client: Client, gateway: FakeGateway, lines: pytest.LogCaptureFixture) -> None:
    gateway.sessions.batches = [[SESSION] * 3]
    await client.delete("/conns?client=198.51.100.2")
    said = facts(lines.messages[0])
    assert (said["what"], said["after"]) == ("DELETE /conns?client=198.51.100.2", "3 sessions ended")


@pytest.mark.parametrize(
    ("path", "data", "headers", "outcome", "asked"),
    [
        (TUNABLE, b"1", {}, "422 Unprocessable Entity", "1"),
        (TUNABLE, b"{", {}, "400 Bad Request", None),
        ("/sysctl/nothing", b"1", {}, "404 Not Found", None),
        (TUNABLE, b"5000", {"Origin": "http://evil.example"}, "403 Forbidden", None),
        (TUNABLE, b"5000", {"Host": "evil.example"}, "421 Misdirected Request", None),
    ],
)
async def test_a_write_that_is_refused_is_a_line(
    client: Client,
    lines: pytest.LogCaptureFixture,
    path: str,
    data: bytes,
    headers: dict[str, str],
    outcome: str,
    asked: str | None,
) -> None:
    await client.put(path, data=data, headers=headers)
    [record] = lines.records
    said = facts(record.message)
    assert (said["outcome"], said.get("asked"), said.get("after")) == (outcome, asked, None)
    assert record.levelno == logging.WARNING


async def test_a_user_who_may_not_write_is_named(client: Client, gateway: FakeGateway, lines: pytest.LogCaptureFixture) -> None:
    gateway.access.is_writer = False
    await client.put(TUNABLE, data=b"5000")
    assert facts(lines.messages[0])["by"] == "user nobody (65534)"


async def test_an_error_of_ours_is_a_line(
    client: Client, gateway: FakeGateway, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(gateway, "set_tunable", fail)
    await client.put(TUNABLE, data=b"5000")
    [line] = [record.message for record in lines.records if record.name == "appliance.audit"]
    assert facts(line)["outcome"] == "an error of ours"


@pytest.mark.parametrize("path", ["/sysctl", TUNABLE, "/conns", "/nothing"])
async def test_who_only_reads_is_no_line(client: Client, lines: pytest.LogCaptureFixture, path: str) -> None:
    await client.get(path)
    assert lines.messages == []


@pytest.mark.parametrize(
    "value", ['x"\n2026-11-26 by="user root (0)"', "\x1b[2J\r\n", "ä\u2028" + 500 * "y", '\\" outcome="200 OK']
)
async def test_nobody_can_put_words_into_the_log(client: Client, lines: pytest.LogCaptureFixture, value: str) -> None:
    await client.put(TUNABLE, data=json.dumps({"value": value}), headers={"Content-Type": "application/json"})
    [line] = lines.messages
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 3000
    said = facts(line)
    assert said["by"] == "user root (0)"
    assert said["outcome"] == "422 Unprocessable Entity"
    assert said["asked"].startswith(value[:2])


async def test_a_flood_of_writes_costs_few_lines_and_no_count(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, later = 0.0, []
    monkeypatch.setattr(
        "appliance.rest.audit.asyncio.get_running_loop",
        lambda: type("Loop", (), {"call_later": lambda _, *call: later.append(call)})(),
    )
    log = AuditLog(lambda: now)
    for _ in range(BURST + 1000):
        log.write("done", is_done=True)
    log.write("refused", is_done=False)
    assert lines.messages == ["done"] * BURST + ["refused"]
    [(delay_s, summarize, argument)] = later
    assert delay_s == audit.SUMMARY_S
    summarize(argument)
    assert lines.messages[-1] == "and 1000 more writes that were done, too many to show each"
    now = 1.0
    for _ in range(1000):
        log.write("done again", is_done=True)
    assert lines.messages.count("done again") == LINES_PER_S
    assert len(later) == 2
