"""Certificates for tests of TLS: an authority, and files that it has issued, or that are wrong in one way."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import trustme


class Files(NamedTuple):
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self._issued = 0
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, *names: str, has_expired: bool = False) -> Files:
        """A certificate for these names and addresses."""
        self._issued += 1
        issued = self._ca.issue_cert(*names, not_after=datetime(2001, 1, 1, tzinfo=UTC) if has_expired else None)
        files = Files(self._directory / f"{self._issued}.pem", self._directory / f"{self._issued}.key")
        files.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        files.key.chmod(0o600)
        return files
