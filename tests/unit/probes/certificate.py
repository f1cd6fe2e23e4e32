"""A certificate that signs itself, made by the openssl program."""

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(directory: Path, name: str) -> Path:
    """A file with a key and a certificate for a host name; the test is skipped where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file, key = directory / "both.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file
