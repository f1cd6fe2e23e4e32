"""tests/support/certificates.py: a certificate fits its key and has the names asked for, and the expired one has expired."""

from pathlib import Path

import pytest

from appliance.edge.tls import load
from tests.support.certificates import Authority


@pytest.mark.parametrize("has_expired", [False, True])
def test_a_certificate_is_as_it_was_asked_for(tmp_path: Path, has_expired: bool) -> None:
    files = Authority(tmp_path).issue("gw.example.org", has_expired=has_expired)
    tls = load(str(files.certificate), str(files.key), None)
    assert tls.names == {"gw.example.org"}
    assert (tls.expires_at_s < 1_000_000_000) == has_expired


def test_a_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert Authority(tmp_path).issue("a").key.stat().st_mode & 0o777 == 0o600
