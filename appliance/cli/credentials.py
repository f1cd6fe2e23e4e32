"""What a command shows to the API: a token, and with HTTPS the certificates that it trusts and its own."""

import argparse
import os
import ssl
import stat
from functools import partial
from typing import NamedTuple

TOKEN_VARIABLE = "APPLIANCE_API_TOKEN"

_LONGEST_FILE_BYTES = 4096


class CredentialError(Exception):
    """A credential cannot be used; the message names its option and the reason."""


class Credentials(NamedTuple):
    """What is sent and checked."""

    token: str | None = None
    tls: ssl.SSLContext | None = None
    """None for the certificates that this host trusts."""


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that name credentials. They have no value when not given."""
    add = partial(group.add_argument, metavar="FILE", default=argparse.SUPPRESS)
    add(
        "--token-file",
        help=f"a file that has the token for the API and nothing else (default: {TOKEN_VARIABLE} in the environment, else none)",
    )
    add("--ca-file", help="with https: trust the certificates in FILE, instead of those that this host trusts")
    add("--cert-file", help="with https: show the certificate in FILE, when the API asks for one")
    add("--key-file", help="the key of --cert-file, when it is not in the same file")


def credentials(options: argparse.Namespace) -> Credentials:
    """The credentials that a command line and the environment name. Raises CredentialError."""
    return Credentials(_token(options.token_file), _tls(options))


def _token(path: str | None) -> str | None:
    if path is None:
        return _checked(os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE) or None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise CredentialError(f"--token-file {path}: it is not a regular file")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise CredentialError(f"--token-file {path}: every user may read or change it; chmod o-rwx")
            text = file.read(_LONGEST_FILE_BYTES).decode(errors="replace").strip()
    except (OSError, ValueError) as error:
        raise CredentialError(f"--token-file {path}: {getattr(error, 'strerror', None) or error}") from error
    if not text:
        raise CredentialError(f"--token-file {path}: it is empty")
    return _checked(text, f"--token-file {path}")


def _checked(token: str, where: str) -> str:
    """`token`. Raises CredentialError, which does not show it, when it cannot stand in a header."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError(f"{where}: it is not one token on one line")
    return token


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.ca_file is None and options.cert_file is None and options.key_file is None:
        return None
    named = [name for name in ("ca_file", "cert_file", "key_file") if getattr(options, name) is not None]
    where = ", ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in named)
    if options.key_file is not None and options.cert_file is None:
        raise CredentialError(f"{where}: it needs --cert-file")
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CredentialError(f"{where}: {reason}") from error
    return context
