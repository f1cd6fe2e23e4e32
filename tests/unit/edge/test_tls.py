"""edge/tls.py: a certificate and its key from files, and what is wrong with them before the first client comes."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from appliance.edge.tls import TlsFileError, load
from tests.support.certificates import Authority, Files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> Files:
    return authority.issue("gw.example.org", "*.lb.example.org", "192.0.2.1", "2001:db8::1")


def refused(certificate: Path, key: Path, client_ca: Path | None = None) -> tuple[str, str]:
    """The key of the configuration that a refusal names, and its reason."""
    with pytest.raises(TlsFileError) as caught:
        load(str(certificate), str(key), str(client_ca) if client_ca else None)
    return caught.value.key, str(caught.value)


def test_the_names_and_the_end_of_a_certificate_are_known(files: Files) -> None:
    tls = load(str(files.certificate), str(files.key), None)
    assert tls.names == {"gw.example.org", "*.lb.example.org", "192.0.2.1", "2001:db8::1"}
    assert tls.expires_at_s > 1_790_000_000
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.context.verify_mode == ssl.CERT_NONE


def test_clients_need_a_certificate_when_their_authority_is_named(files: Files, authority: Authority) -> None:
    assert load(str(files.certificate), str(files.key), str(authority.file)).context.verify_mode == ssl.CERT_REQUIRED


def test_a_certificate_that_has_expired_is_loaded(authority: Authority) -> None:
    files = authority.issue("gw.example.org", has_expired=True)
    tls = load(str(files.certificate), str(files.key), None)
    assert tls.names == {"gw.example.org"}
    assert tls.expires_at_s == 978_307_200.0


def test_files_may_be_links_as_those_of_certbot_are(files: Files, tmp_path: Path) -> None:
    links = Files(tmp_path / "fullchain", tmp_path / "privkey")
    for link, target in zip(links, files, strict=True):
        link.symlink_to(target)
    assert load(str(links.certificate), str(links.key), None).names


def test_a_key_that_others_may_read_is_refused(files: Files) -> None:
    files.key.chmod(0o644)
    assert refused(*files) == ("tls_key", "every user may read it (mode 0644); chmod o-rwx")


def test_a_key_of_another_certificate_is_refused(files: Files, authority: Authority) -> None:
    assert refused(files.certificate, authority.issue("b").key) == ("tls_key", "it is not the key of api.tls_certificate")


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked(files: Files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    key_in_clear = load_pem_private_key(files.key.read_bytes(), password=None)
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    locked.write_bytes(key_in_clear.private_bytes(*form))
    locked.chmod(0o600)
    key, reason = refused(files.certificate, locked)
    assert key == "tls_key"
    assert "pass phrase" in reason


def test_a_fifo_is_refused_at_once(files: Files, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert refused(files.certificate, fifo) == ("tls_key", "it is not a regular file")
    assert refused(fifo, files.key) == ("tls_certificate", "it is not a regular file")


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
@pytest.mark.parametrize("key", ["tls_certificate", "tls_key", "tls_client_ca"])
def test_a_file_without_what_it_should_have_is_named(
    files: Files, authority: Authority, tmp_path: Path, key: str, text: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_text(text)
    bad.chmod(0o600)
    paths = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_client_ca": authority.file} | {key: bad}
    assert refused(*paths.values())[0] == key


@pytest.mark.parametrize("key", ["tls_certificate", "tls_key", "tls_client_ca"])
def test_a_file_that_is_missing_is_named(files: Files, authority: Authority, key: str) -> None:
    paths = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_client_ca": authority.file}
    assert refused(*(paths | {key: Path("/nonexistent")}).values()) == (key, "it cannot be opened: No such file or directory")
