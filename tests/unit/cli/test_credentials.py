"""cli/credentials.py: where the token and the certificates of a command come from, and that a token is never shown."""

import argparse
import os
from pathlib import Path

import pytest

from appliance.cli.credentials import TOKEN_VARIABLE, CredentialError, add_options, credentials
from tests.support.certificates import Authority


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    nothing = argparse.Namespace(token_file=None, ca_file=None, cert_file=None, key_file=None)
    return parser.parse_args(words, nothing)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("apl_one\n")
    path.chmod(0o600)
    return path


def reason(*words: str) -> str:
    with pytest.raises(CredentialError) as caught:
        credentials(given(*words))
    return str(caught.value)


def test_without_any_there_are_none() -> None:
    assert credentials(given()) == (None, None)


def test_the_file_counts_before_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "apl_two")
    assert credentials(given()).token == "apl_two"
    assert credentials(given("--token-file", str(file))).token == "apl_one"


@pytest.mark.parametrize("token", ["apl_ä", "apl_1\napl_2", "apl_1 x", "apl_\x7f"])
def test_what_cannot_stand_in_a_header_is_refused_and_not_shown(file: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    file.write_text(token)
    assert reason("--token-file", str(file)) == f"--token-file {file}: it is not one token on one line"
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    assert reason() == f"{TOKEN_VARIABLE}: it is not one token on one line"


def test_a_file_that_cannot_be_used_is_named(file: Path, tmp_path: Path) -> None:
    assert reason("--token-file", "/nonexistent") == "--token-file /nonexistent: No such file or directory"
    file.chmod(0o644)
    assert "every user may read" in reason("--token-file", str(file))
    file.chmod(0o600)
    file.write_text("\n")
    assert reason("--token-file", str(file)).endswith(": it is empty")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert reason("--token-file", str(tmp_path / "fifo")).endswith(": it is not a regular file")


def test_certificates_are_loaded(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("client")
    names = ("--ca-file", str(authority.file), "--cert-file", str(files.certificate), "--key-file", str(files.key))
    tls = credentials(given(*names)).tls
    assert tls is not None
    assert tls.cert_store_stats()["x509"] == 1
    assert tls.check_hostname


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert reason("--ca-file", "/nonexistent") == "--ca-file /nonexistent: No such file or directory"
    assert reason("--key-file", "/k") == "--key-file /k: it needs --cert-file"
    (tmp_path / "bad").write_text("nonsense")
    assert reason("--cert-file", str(tmp_path / "bad")).startswith(f"--cert-file {tmp_path / 'bad'}: ")
