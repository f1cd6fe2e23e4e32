"""cli/changes.py and cli/service_changes.py: what the commands ask for, print and write, against the real API."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.__main__ import main
from appliance.api import make_app, serve
from appliance.cli.changes import NEEDS_RESTART
from appliance.cli.service_changes import assignment
from tests.support.api_changes import SHIPPED
from tests.support.gateway import FakeGateway

DRAINED = SHIPPED.replace("weight = 100", "weight = 0", 1)
DRAIN = "service web: real server 192.0.2.101:8080 weight 100 -> 0"


class Operator:
    """Runs commands against an API in front of a gateway that the test sets."""

    def __init__(self, gateway: FakeGateway, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateway, self.file, self.http = gateway, file, ""
        self.unix = f"unix:{file.parent / 'api.sock'}"
        self._capsys = capsys

    async def types(self, *words: str, api: str = "") -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [*words, "--api", api or self.unix])
        printed = self._capsys.readouterr()
        assert all(len(line) <= 80 for line in printed.out.splitlines() if str(self.file) not in line and "--json" not in words)
        return code, printed.out, printed.err

    async def reads(self, *words: str, api: str = "") -> str:
        """The output of a command that succeeds."""
        code, out, err = await self.types(*words, api=api)
        assert (code, err) == (0, "")
        return out


@pytest.fixture
async def operator(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> AsyncIterator[Operator]:
    gateway, file = FakeGateway(), tmp_path / "lvs.toml"
    file.write_text(SHIPPED)
    gateway.configuration.keep_in(file)
    made = Operator(gateway, file, capsys)
    runner = await serve(make_app(gateway), [made.unix, "127.0.0.1:0"])
    made.http = f"http://127.0.0.1:{runner.addresses[1][1]}"
    yield made
    await gateway.configuration.end()
    await runner.cleanup()


def weights(operator: Operator) -> list[int]:
    return [server.weight for server in operator.gateway.configuration.in_force.services[0].real_servers]


def new(operator: Operator, text: str) -> str:
    path = operator.file.parent / "new.toml"
    path.write_text(text)
    return str(path)


async def test_a_plan_is_printed_and_nothing_changes(operator: Operator) -> None:
    assert await operator.reads("plan", new(operator, DRAINED)) == f"{DRAIN}\n  3 sessions go on\n"
    assert await operator.reads("plan", str(operator.file)) == "nothing would change\n"
    assert json.loads(await operator.reads("plan", new(operator, DRAINED), "--json"))["needs_restart"] == []
    assert weights(operator) == [100, 100]


async def test_a_plan_that_needs_a_restart_has_an_exit_code_of_its_own(operator: Operator) -> None:
    code, out, _ = await operator.types("plan", new(operator, SHIPPED.replace("shards = 2", "shards = 3")))
    assert (code, out) == (NEEDS_RESTART, "gateway.shards: 2 -> 3 needs a restart\n")


async def test_every_mistake_of_a_file_is_printed_with_its_line(operator: Operator) -> None:
    code, out, err = await operator.types("apply", new(operator, SHIPPED.replace("weight = 100", "weight = -1")))
    assert (code, out) == (1, "")
    lines = [1 + number for number, line in enumerate(SHIPPED.splitlines()) if line == "weight = 100"]
    assert [f"  line {line}: service[0].real_server[" in err for line in lines] == [True, True]
    assert "out of range 0..65535" in err
    assert weights(operator) == [100, 100]


@pytest.mark.parametrize(
    ("name", "words"), [("gone", "cannot be read: No such file"), (".", "Is a directory"), ("empty", "is empty")]
)
async def test_a_file_that_is_none_is_refused(operator: Operator, name: str, words: str) -> None:
    (operator.file.parent / "empty").touch()
    code, _, err = await operator.types("apply", str(operator.file.parent / name))
    assert code == 1
    assert words in err


async def test_apply_confirm_and_the_file_again(operator: Operator) -> None:
    said = await operator.reads("apply", new(operator, DRAINED), "--confirm-within", "60")
    assert said == f"{DRAIN}\ntaken back in 60 s unless `appliance confirm` comes before\n"
    assert (await operator.types("apply"))[0] == 1, "a change waits"
    assert await operator.reads("confirm") == "confirmed\n"
    assert weights(operator) == [0, 100]
    assert (await operator.types("confirm"))[0] == 1
    await operator.reads("apply")
    assert weights(operator) == [100, 100]


async def test_save_writes_the_file_with_its_comments(operator: Operator) -> None:
    await operator.reads("apply", new(operator, DRAINED))
    said = await operator.reads("save", "--config", str(operator.file))
    assert said.startswith(DRAIN)
    assert said.endswith("written\n")
    assert operator.file.read_text() == DRAINED
    assert (await operator.reads("save", "--config", str(operator.file))).startswith("nothing to save\n")


async def test_over_tcp_the_appliance_writes_the_file(operator: Operator) -> None:
    await operator.reads("apply", new(operator, DRAINED))
    assert (await operator.reads("save", "--config", "/nonexistent", api=operator.http)).endswith("written\n")
    assert operator.file.read_text() == DRAINED


async def test_save_writes_no_other_file_than_the_one_that_is_named(operator: Operator) -> None:
    await operator.reads("apply", new(operator, DRAINED))
    code, _, err = await operator.types("save")
    assert code == 1
    assert "say so with --config" in err
    assert operator.file.read_text() == SHIPPED


async def test_what_nobody_can_write_is_said(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    await operator.reads("apply", new(operator, DRAINED))

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fchown", read_only)
    operator.gateway.configuration.is_read_only = True
    code, _, err = await operator.types("save", "--config", str(operator.file))
    assert code == 1
    assert "cannot be written: Read-only file system; " in err
    assert operator.file.read_text() == SHIPPED


async def test_services_and_real_servers_are_listed_and_changed(operator: Operator) -> None:
    assert [line.split()[0] for line in (await operator.reads("services")).splitlines()] == ["service", "web", "names"]
    assert 'scheduler = "rr"' in await operator.reads("services", "web")
    assert [line.split()[0] for line in (await operator.reads("servers", "web")).splitlines()][1:] == [
        "192.0.2.101:8080",
        "192.0.2.102:8080",
    ]
    assert "weight = 7\n" in await operator.reads("servers", "web", "192.0.2.102:8080", "--weight", "7")
    assert "weight = 5\n" in await operator.reads("servers", "web", "192.0.2.103:8080", "--weight", "5")
    assert weights(operator) == [100, 7, 5]
    assert await operator.reads("servers", "web", "192.0.2.103:8080", "--remove")
    assert weights(operator) == [100, 7]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("servers", "web", "192.0.2.102:8080", "--weight", "x"), '"x" is not an integer'),
        (("servers", "web", "192.0.2.102:8080", "--weight", "65536"), "out of range 0..65535"),
        (("servers", "we", "192.0.2.102:8080", "--weight", "5"), "the nearest is web"),
        (("servers", "web", "192.0.2.109:8080", "--remove"), "there is no real server 192.0.2.109:8080"),
        (("services", "../sysctl"), "there is no service '../sysctl'"),
        (("services", "wbe", "scheduler=wlc"), "there is no service wbe"),
        (("services", "web", "scheduler=xx"), '"xx" is not available'),
        (("services", "web", "vip=203.0.113.99", "--add"), "there is a service web already"),
        (("services", "new", "port=80", "--add"), "vip: is required"),
        (("services", "web", "scheduler=rr", "scheduler=wlc"), "scheduler is given twice"),
        (("services", "web", "health_check=", "health_check.type=tcp"), "health_check is given twice"),
        (("services", "web", "port=80", "--remove"), "--remove takes no KEY=VALUE"),
        (("services", "--remove"), "the name of the service is missing"),
        (("services", "--add"), "the name of the service is missing"),
        (("services", "we\udcffb", "port=80", "--add"), "half a surrogate pair"),
        (("pools", "default", "--remove"), '"default" is not a pool'),
        (("pools", "default", "192.0.2.300"), '"192.0.2.300" is not an IPv4 address'),
        (("pools", "default", "192.0.2.10", "--remove"), "--remove takes no addresses"),
        (("pools", "--remove"), "the name of the pool is missing"),
        (("apply", "--confirm-within", "0"), "out of range 1..86400"),
    ],
)
async def test_a_refusal_is_printed(operator: Operator, words: tuple[str, ...], complaint: str) -> None:
    code, out, err = await operator.types(*words)
    assert (code, out) == (1, "")
    assert complaint in err
    assert weights(operator) == [100, 100]


async def test_a_service_is_added_changed_and_removed(operator: Operator) -> None:
    def in_force() -> dict[str, str]:
        return {service.name: service.scheduler for service in operator.gateway.configuration.in_force.services}

    before = in_force()
    words = ("vip=203.0.113.81", "port=53", "protocol=udp", "local_addresses=default", "scheduler=wlc")
    added = await operator.reads("services", "dns", *words, "--add")
    assert added == await operator.reads("services", "dns")
    assert in_force() == before | {"dns": "wlc"}
    changed = await operator.reads("services", "dns", "scheduler=", "health_check.type=tcp", "health_check.port=53")
    assert '[health_check]\ntype = "tcp"\nport = 53\n' in changed
    assert in_force() == before | {"dns": "rr"}
    assert "timeout_s = 0.2" in await operator.reads("services", "dns", "health_check.timeout_s=0.2")
    assert "health_check" not in await operator.reads("services", "dns", "health_check=")
    assert await operator.reads("services", "dns", "--remove") == "service dns (203.0.113.81:53 udp) removed\n"
    assert in_force() == before


async def test_a_pool_is_added_changed_and_removed(operator: Operator) -> None:
    assert await operator.reads("pools", "spare", "192.0.2.30", "192.0.2.31") == "192.0.2.30 192.0.2.31\n"
    await operator.reads("pools", "spare", "192.0.2.32")
    assert await operator.reads("pools", "spare") == "192.0.2.32\n"
    assert "spare    192.0.2.32" in await operator.reads("pools")
    await operator.reads("pools", "spare", "--remove")
    assert "spare" not in await operator.reads("pools")


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("port=80", ("port",), 80),
        ("vip=203.0.113.81", ("vip",), "203.0.113.81"),
        ('vip="203.0.113.81"', ("vip",), "203.0.113.81"),
        ("synproxy=auto", ("synproxy",), "auto"),
        ("synproxy=true", ("synproxy",), True),
        (" health_check . path = /a=b ", ("health_check", "path"), "/a=b"),
        ("observe={errors = 3}", ("observe",), {"errors": 3}),
        ("allow=['10.0.0.0/8']", ("allow",), ["10.0.0.0/8"]),
        ("interval_s=inf", ("interval_s",), "inf"),
        ("name=1979-05-27", ("name",), "1979-05-27"),
        ("name=80\nport = 81", ("name",), "80\nport = 81"),
        ("name=" + "[" * 5000, ("name",), "[" * 5000),
        ("scheduler=", ("scheduler",), None),
    ],
)
def test_what_an_assignment_means(text: str, path: tuple[str, ...], value: object) -> None:
    assert assignment(text) == (path, value)


@pytest.mark.parametrize("word", ["port", "=80", "a..b=1", ".a=1"])
async def test_what_is_no_assignment_is_a_wrong_command_line(operator: Operator, word: str) -> None:
    with pytest.raises(SystemExit) as ended:
        await operator.types("services", "web", word)
    assert ended.value.code == 2
