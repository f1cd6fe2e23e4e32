"""The command line of `appliance lab`, as far as it can be tested without root."""

import argparse
import os
from pathlib import Path

import pytest

from appliance.lab import command


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args(arguments)


def test_command_is_everything_behind_the_dashes() -> None:
    parsed = parse("--keep", "--config", "a.toml", "--shards", "4", "--", "curl", "--keep", "--", "-s")
    assert parsed.command == ["--", "curl", "--keep", "--", "-s"]
    assert (parsed.keep, parsed.config, parsed.shards, parsed.remove) == (True, Path("a.toml"), 4, None)
    assert parsed.run is command.run


def test_default_configuration_is_the_shipped_one_in_a_source_tree() -> None:
    assert parse("--", "true").config == Path(__file__).parents[3] / "etc" / "lvs.toml"


@pytest.mark.parametrize("arguments", [(), ("--",), ("--keep",), ("--remove", "lab-1-1", "--", "true")])
def test_either_a_command_or_a_lab_to_remove(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(parse(*arguments)) == 2
    assert "--remove NAME" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lab-1-99999999999", "nonsense", "../etc"])
def test_removing_a_lab_that_is_not_there_fails(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(parse("--remove", name)) == 1
    assert repr(name) in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root is not refused")
def test_without_root_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(parse("--", "true")) == 125
    assert "run as root" in capsys.readouterr().err


def test_the_lane_and_a_restart_are_options() -> None:
    parsed = parse("--lane", "off", "--restart", "--", "true")
    assert (parsed.lane, parsed.restart, parse("--", "true").lane, parse("--", "true").restart) == ("off", True, None, False)
    with pytest.raises(SystemExit):
        parse("--lane", "on", "--", "true")


def test_real_servers_run_the_labs_servers_or_nothing_or_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert [parse(*words, "--", "true").servers for words in ((), ("--servers", "none"))] == ["own", "none"]
    assert (parse("--", "true").serve, parse("--serve", "nginx -c x", "--", "true").serve) == (None, "nginx -c x")
    for words in (("--servers", "some"), ("--servers", "none", "--serve", "nginx")):
        with pytest.raises(SystemExit):
            parse(*words, "--", "true")
    assert "not allowed with argument --servers" in capsys.readouterr().err
