"""cli/command_line.py: options may stand anywhere, and a word that does not exist is refused with the one that was meant."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.__main__ import main
from appliance.cli.command_line import CommandLine
from appliance.cli.operator import API_VARIABLE, DEFAULT_API
from tests.unit.cli.conftest import ROOT, Operator

SOME = "unix:/run/some.sock"


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The last line about a wrong command line."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("--api", SOME, "servers", "web", "192.0.2.101:8080", "--weight", "5"),
        (f"--api={SOME}", "servers", "web", "192.0.2.101:8080", "--weight=5"),
        ("servers", "--api", SOME, "web", "192.0.2.101:8080", "--weight", "5"),
        ("servers", "web", "--api", SOME, "--weight", "5", "192.0.2.101:8080"),
        ("servers", "--weight", "5", "web", "192.0.2.101:8080", "--api", SOME),
        ("--api", "unix:/run/other.sock", "servers", "--weight", "5", "web", "192.0.2.101:8080", "--api", SOME),
    ],
    ids=" ".join,
)
def test_options_stand_before_between_and_behind_the_words(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_VARIABLE, "unix:/run/third.sock")
    found = CommandLine().parse_args(words)
    assert (found.api, found.service, found.server, found.weight) == (SOME, "web", "192.0.2.101:8080", "5")
    assert (found.json, found.token_file) == (False, None)


@pytest.mark.parametrize("words", [("--json", "--token-file", "t", "health"), ("health", "--json", "--token-file", "t")])
def test_what_is_shown_to_the_api_may_stand_before_the_command_too(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(API_VARIABLE, raising=False)
    found = CommandLine().parse_args(words)
    assert (found.json, found.token_file, found.api) == (True, "t", DEFAULT_API)


async def test_the_address_before_the_command_is_asked(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_VARIABLE, SOME)
    assert "TCP: inuse" in await operator.reads("sockstat")
    operator.gateway.shared.set_tunables({"udp_timeout": 5000})
    before = (await operator.types("--api", operator.unix, "sysctl", "udp_timeout", api=operator.http)).out
    assert before == "udp_timeout = 5000\n"


@pytest.mark.parametrize("words", [("check", "etc/lvs.toml"), ("render-nft",), ("lab", "--", "true"), ("token", "new", "x")])
@pytest.mark.parametrize("option", [("--api", SOME), ("--json",), ("--ca-file", "f")])
def test_a_command_that_asks_nobody_takes_no_address(
    words: tuple[str, ...], option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, *option, *words)
    assert said == f"appliance {words[0]}: error: it asks no appliance, so it takes no {option[0]}"


def test_a_wrong_address_in_the_environment_is_no_matter_of_a_command_that_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_VARIABLE, "nowhere")
    assert main(["check", str(ROOT / "etc/lvs.toml")]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("healt",), "appliance: error: there is no command 'healt'; did you mean \"health\"?"),
        (("top-client",), "appliance: error: there is no command 'top-client'; did you mean \"top-clients\"?"),
        (("xyzzy",), "appliance: error: there is no command 'xyzzy'; `appliance --help` lists all commands"),
        (("conns", "--clinet", "x"), "appliance conns: error: unrecognized arguments: --clinet x; did you mean \"--client\"?"),
        (("conns", "--clinet=x"), "appliance conns: error: unrecognized arguments: --clinet=x; did you mean \"--client\"?"),
        (("conns", "--client", "x", "y"), "appliance conns: error: unrecognized arguments: y"),
        (("run", "--lane", "of"), "argument --lane: 'of' is none of auto, off, required; did you mean \"off\"?"),
        (("lab", "--shard", "2"), "appliance lab: error: unrecognized arguments: --shard; did you mean \"--shards\"?"),
    ],
)  # fmt: skip
def test_the_word_that_was_probably_meant_is_named(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, *words).endswith(said)


@pytest.mark.parametrize("option", ["--jso", "--cl", "--real", "--lim"])
def test_options_are_not_shortened(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script would break when another option is added."""
    assert "unrecognized arguments" in complaint(capsys, "conns", option, "x")


def test_a_command_loads_nothing_of_the_others() -> None:
    program = (
        "import sys; from appliance.__main__ import main\n"
        "try: main(['conns', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*{'pydantic', 'pyroute2', 'aiohttp', 'appliance.lab'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


def test_what_stands_behind_the_dashes_of_lab_is_not_read() -> None:
    words = ["--", "appliance", "--api", SOME, "conns", "--json", "--wide"]
    found = CommandLine().parse_args(["lab", "--keep", *words])
    assert (found.command, found.keep, hasattr(found, "json")) == (words, True, False)


@pytest.mark.parametrize("words", [("conns", "\x1b[2J"), ("\x9b1m",), ("run", "--lane", "\x07"), ("conns", "--\u202e")])
def test_a_complaint_about_what_was_typed_is_obeyed_by_no_terminal(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(list(words))
    assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))


@pytest.mark.parametrize(
    "text", [None, "'\x1b[2J' = 1\n", '[gateway]\n"\\u001b[2J" = 1\n', '[gateway]\nclient_interface = "\\u009b1m"\n']
)
def test_a_complaint_about_a_file_is_obeyed_by_no_terminal(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "\x1b[2J.toml"
    if text is not None:
        file.write_text(text)
    assert main(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert said
    assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize("option", ["--wide", "--json"])
def test_the_form_may_stand_before_the_command(option: str) -> None:
    found = CommandLine().parse_args([option, "conns"])
    assert (found.wide, found.json) == (option == "--wide", option == "--json")
