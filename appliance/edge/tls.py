"""TLS of the admin API: a certificate and its key, from files to what a listener needs.

Everything that can be wrong with the files is found here, by a handshake of the appliance with itself, and not when the first
client comes.
"""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from appliance.edge import key_file
from appliance.edge.errors import EdgeError

_LONGEST_FILE_BYTES = 1 << 20
"""A list of all certificate authorities of a distribution has room in it."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the certificate is read also when it has expired."""

_HANDSHAKE_TURNS = 4


class TlsFileError(EdgeError):
    """One of the files cannot be used; `key` names it as `[api]` does, and the message is the reason."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a listener needs for TLS."""

    context: ssl.SSLContext
    names: frozenset[str]
    """The names and addresses of the certificate, in lower case; a name may begin with ``*.``."""
    expires_at_s: float
    """When the certificate expires, in seconds since 1970."""


def load(certificate: str, key: str, client_ca: str | None) -> ServerTls:
    """Read the files: TLS 1.2 or newer; with `client_ca`, only clients whose certificate comes from there are served.

    A certificate that has expired is loaded: a gateway must not fail to start because of it. Raises TlsFileError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    with _named("tls_certificate"):
        chain = key_file.read(certificate, _LONGEST_FILE_BYTES, is_secret=False, may_be_link=True)
    client = _client_that_trusts(chain)
    _load_pair(context, certificate, key)
    facts = _facts(context, client)
    if client_ca:
        with _named("tls_client_ca"):
            trusted = key_file.read(client_ca, _LONGEST_FILE_BYTES, is_secret=False, may_be_link=True)
        _trust(context, trusted, "tls_client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    names = frozenset(
        str(ip_address(name.strip())) if kind == "IP Address" else name.lower() for kind, name in facts.get("subjectAltName", ())
    )
    return ServerTls(context, names, float(ssl.cert_time_to_seconds(facts["notAfter"])))


@contextmanager
def _named(key: str) -> Iterator[None]:
    try:
        yield
    except TlsFileError:
        raise
    except EdgeError as error:
        raise TlsFileError(key, str(error)) from error


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load both from the files that are open and were checked, whatever their names mean a moment later."""
    with ExitStack() as files:
        paths = []
        for name, path, is_secret in (("tls_certificate", certificate, False), ("tls_key", key, True)):
            with _named(name):
                file = key_file.opened(path, _LONGEST_FILE_BYTES, is_secret=is_secret, may_be_link=True)
                paths.append(f"/proc/self/fd/{files.enter_context(file)}")
        try:
            context.load_cert_chain(paths[0], paths[1], _no_pass_phrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsFileError("tls_key", "it is not the key of api.tls_certificate") from error
            if error.reason and ("TOO_SMALL" in error.reason or "TOO_WEAK" in error.reason):
                raise TlsFileError("tls_certificate", f"OpenSSL refuses it: {error.reason}") from error
            raise TlsFileError("tls_key", f"it has no private key in PEM form: {error.reason or error}") from error
        except (OSError, ValueError) as error:
            raise TlsFileError("tls_key", str(error)) from error


def _no_pass_phrase() -> str:
    """Called by OpenSSL, which would otherwise ask at a terminal and wait."""
    raise ValueError("it is protected by a pass phrase, which nobody can type here")


def _client_that_trusts(chain: str) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    _trust(client, chain, "tls_certificate")
    return client


def _trust(context: ssl.SSLContext, certificates: str, key: str) -> None:
    try:
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error
        raise TlsFileError(key, f"it has no certificate in PEM form: {reason}") from error


def _facts(context: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """What stands in the certificate, as a client learns it in a handshake. Raises TlsFileError when there is none."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True))
    try:
        for _ in range(_HANDSHAKE_TURNS):
            for end in ends:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason
        raise TlsFileError("tls_certificate", f"clients cannot use it: {reason}") from error
    return dict(ends[0].getpeercert() or {})
