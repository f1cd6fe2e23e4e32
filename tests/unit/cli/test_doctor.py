"""cli/doctor.py: the exit code says how bad it is; without an appliance the host itself is looked at."""

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.__main__ import main
from appliance.api import make_app, serve
from appliance.cli import doctor, operator
from appliance.cli.command_line import CommandParser
from appliance.cli.operator import API_VARIABLE
from appliance.config.problems import ConfigError, ConfigProblem
from appliance.doctor.examine import Report
from appliance.doctor.finding import Severity
from tests.support.gateway import FINDING, FakeGateway

COMMAND = "appliance sysctl fullnat_timestamp_remove_entry=1"


class Served(NamedTuple):
    gateway: FakeGateway
    http: str
    unix: str


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    gateway, unix = FakeGateway(), f"unix:{tmp_path / 'api.sock'}"
    runner = await serve(make_app(gateway), ["127.0.0.1:0", unix])
    yield Served(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", unix)
    await runner.cleanup()


@pytest.mark.parametrize(("severity", "code"), [(None, 0), (Severity.NOTE, 0), (Severity.WARNING, 10), (Severity.ERROR, 20)])
@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_the_exit_code_is_the_worst_severity(
    served: Served, capsys: pytest.CaptureFixture[str], severity: Severity | None, code: int, form: tuple[str, ...]
) -> None:
    served.gateway.findings = () if severity is None else (FINDING, FINDING._replace(severity=severity))
    if severity is not None and severity < FINDING.severity:
        served.gateway.findings = (FINDING._replace(severity=severity),)
    assert await asyncio.to_thread(main, ["doctor", "--api", served.http, *form]) == code
    out, err = capsys.readouterr()
    assert err == ""
    if form:
        assert json.loads(out)["severity"] == ("ok" if severity is None else severity.word)


async def test_commands_ask_the_appliance_that_was_asked(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    await asyncio.to_thread(main, ["doctor", "--api", served.unix])
    assert f"\nappliance sysctl --api {served.unix} fullnat_timestamp_remove_entry=1\n" in capsys.readouterr().out
    await asyncio.to_thread(main, ["doctor", "--api", served.unix, "--json"])
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["commands"] == [f"appliance sysctl --api {served.unix} fullnat_timestamp_remove_entry=1"]


def test_commands_have_the_credentials_that_were_shown() -> None:
    options = argparse.Namespace(api="https://gw:9443", token_file="a token", ca_file="ca.pem", cert_file=None, key_file=None)
    shown = doctor._for_the_same({"findings": [{"commands": [COMMAND, "ip link"]}]}, options)
    words = "--api https://gw:9443 --token-file 'a token' --ca-file ca.pem"
    assert shown["findings"] == [{"commands": [f"appliance sysctl {words} fullnat_timestamp_remove_entry=1", "ip link"]}]


async def test_an_address_of_the_environment_stays_there(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_VARIABLE, served.http)
    assert await asyncio.to_thread(main, ["doctor"]) == 10
    assert f"\n{COMMAND}\n" in capsys.readouterr().out


class Here:
    """A look at this host that the test answers."""

    def __init__(self, severity: str = "error") -> None:
        self.asked: list[Path] = []
        self.report: Mapping[str, Any] = {
            "severity": severity, "running": False, "watched_s": 5.0, "findings": [], "left_out": [], "unseen": {},
        }  # fmt: skip

    def __call__(self, file: Path) -> Mapping[str, Any]:
        self.asked.append(file)
        return self.report

    def run(self, *words: str) -> int:
        parser = CommandParser()
        doctor.add_doctor(parser, Path("/etc/some.toml"), self)
        options = parser.parse_args(words)
        parser.fill(options)
        code: int = options.run(options)
        return code


@pytest.fixture
def no_appliance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    address = f"unix:{tmp_path / 'nobody.sock'}"
    monkeypatch.setattr(operator, "DEFAULT_API", address)
    monkeypatch.delenv(API_VARIABLE, raising=False)
    return address


@pytest.mark.parametrize(("severity", "code"), [("ok", 0), ("note", 0), ("warning", 10), ("error", 20)])
def test_without_an_appliance_the_host_is_looked_at(
    no_appliance: str, capsys: pytest.CaptureFixture[str], severity: str, code: int
) -> None:
    here = Here(severity)
    assert here.run("--config", "/etc/other.toml") == code
    assert here.asked == [Path("/etc/other.toml")]
    out, err = capsys.readouterr()
    assert err == f"no appliance runs here ({no_appliance}): looking at this host and /etc/other.toml itself\n"
    assert out.startswith(f"{severity}: ")


def test_an_appliance_that_has_left_its_socket_is_not_there(no_appliance: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(no_appliance.removeprefix("unix:"))
    here = Here()
    assert here.run() == 20
    assert here.asked == [Path("/etc/some.toml")]


@pytest.mark.usefixtures("no_appliance")
def test_another_address_that_was_given_is_meant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    here = Here()
    assert here.run("--api", f"unix:{tmp_path / 'other.sock'}") == 1
    assert here.asked == []
    assert "is the appliance running" in capsys.readouterr().err


async def test_an_appliance_that_fails_is_there(capsys: pytest.CaptureFixture[str], no_appliance: str) -> None:
    class Failing(FakeGateway):
        async def examine(self) -> Report:
            raise RuntimeError("ours")

    runner = await serve(make_app(Failing()), [no_appliance])
    here = Here()
    assert await asyncio.to_thread(here.run) == 1
    await runner.cleanup()
    assert here.asked == []
    assert capsys.readouterr().err.startswith("appliance: ")


@pytest.mark.parametrize("report", [{}, {"severity": "splendid"}, {"severity": "ok"}, {"severity": "ok", "findings": 3}])
@pytest.mark.usefixtures("no_appliance")
def test_what_is_no_report_is_refused(capsys: pytest.CaptureFixture[str], report: dict[str, Any]) -> None:
    here = Here()
    here.report = report
    assert here.run() == 1
    assert "the answer is no report of a doctor" in capsys.readouterr().err


@pytest.mark.usefixtures("no_appliance")
def test_a_configuration_with_mistakes_is_its_own_error() -> None:
    class Wrong(Here):
        def __call__(self, file: Path) -> Mapping[str, Any]:
            raise ConfigError(str(file), (ConfigProblem((), None, "cannot be read"),))

    with pytest.raises(ConfigError):
        Wrong().run()
