"""director/access.py: keys from files, at the start and at a reload; and that nobody writes of whom nobody knows."""

import logging
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from appliance.config.loading import Api, ConfigError
from appliance.director.access import NOBODY, Access
from appliance.edge.errors import EdgeError
from appliance.ipc.rows import Caller
from appliance.model.token import line_of
from tests.support.certificates import Authority


def write_tokens(path: Path, *texts: str) -> Path:
    path.write_text("".join(f"{line_of(text, text, may_write=True)}\n" for text in texts))
    path.chmod(0o640)
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens", "one", "two")


def spoil(path: Path) -> None:
    path.write_text("nonsense")


def names(access: Access) -> list[str]:
    return [token.name for token in access.tokens]


def test_without_files_there_are_no_keys() -> None:
    access = Access(Api())
    assert (access.tokens, access.tls, access.remote_needs_token, list(access.warnings)) == ((), None, True, [])
    assert not Access(Api(allow_remote_without_token=True)).remote_needs_token


def test_every_file_that_cannot_be_used_is_named_with_its_key(tokens: Path) -> None:
    tokens.chmod(0o644)
    api = Api(tokens_file=str(tokens), tls_certificate="/nonexistent", tls_key="/nonexistent")
    with pytest.raises(ConfigError) as caught:
        Access(api, "lvs.toml")
    assert str(caught.value).splitlines() == [
        f'lvs.toml: api.tokens_file: "{tokens}" cannot be used: every user may read it (mode 0644); chmod o-rwx',
        'lvs.toml: api.tls_certificate: "/nonexistent" cannot be used: it cannot be opened: No such file or directory',
    ]


async def test_tokens_are_read_again(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    access = Access(Api(tokens_file=str(tokens)))
    write_tokens(tokens, "two", "three", "four")
    assert names(access) == ["one", "two"]
    with caplog.at_level(logging.INFO):
        await access.read_again()
    assert names(access) == ["two", "three", "four"]
    assert access.tokens.find("one") is None
    assert caplog.messages == ["keys of the API read again: 3 tokens"]


@pytest.mark.parametrize("which", ["tokens", "certificate"])
async def test_one_bad_file_leaves_all_keys_as_they_are(
    tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    files = Authority(tmp_path).issue("gw.example.org")
    access = Access(Api(tokens_file=str(tokens), tls_certificate=str(files.certificate), tls_key=str(files.key)))
    before = access.tls
    assert before is not None
    assert access.context() is before.context
    write_tokens(tokens, "three")
    spoil(tokens if which == "tokens" else files.certificate)
    await access.read_again()
    assert names(access) == ["one", "two"]
    assert access.tls is before
    assert "cannot be used" in caplog.messages[0]
    assert caplog.messages[-1] == "the tokens and the certificate of the API stay as they are"


async def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files, other = authority.issue("old.example.org"), authority.issue("new.example.org")
    access = Access(Api(tls_certificate=str(files.certificate), tls_key=str(files.key)))
    for new, old in zip(other, files, strict=True):
        os.replace(new, old)
    before = access.context()
    await access.read_again()
    assert access.context() is not before
    assert access.tls
    assert access.tls.names == {"new.example.org"}


async def test_a_certificate_that_has_expired_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = Authority(tmp_path).issue("gw.example.org", has_expired=True)
    access = Access(Api(tls_certificate=str(files.certificate), tls_key=str(files.key)))
    warning = "api.tls_certificate: the certificate has expired at 2001-01-01 00:00 UTC, and clients refuse it"
    assert list(access.warnings) == [warning]
    await access.read_again()
    assert caplog.messages == [warning]


@pytest.mark.parametrize(
    ("answer", "caller"),
    [
        (Caller("user root (0)", may_write=True), Caller("user root (0)", may_write=True)),
        (EdgeError("why"), NOBODY),
        (OSError(24, "why"), NOBODY),
    ],
)
async def test_nobody_writes_of_whom_the_kernel_says_nothing(
    answer: Caller | Exception, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.edge.peer.note", lambda sock: sock)
    monkeypatch.setattr("appliance.edge.peer.who", Mock(side_effect=[answer]))
    assert await Access(Api()).who(Mock()) == caller
    assert not NOBODY.may_write
