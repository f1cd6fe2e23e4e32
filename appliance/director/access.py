"""Who may use the admin API: the tokens and the certificate in force, and the user behind a connection.

The files are read at the start and at every SIGHUP, whatever becomes of the rest of the configuration then: a token that has
become known must not stay in force because of a mistake elsewhere.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

from appliance.config.loading import Api, ConfigError, ConfigProblem
from appliance.config.problems import value_text
from appliance.edge import key_file, peer, tls
from appliance.edge.errors import EdgeError
from appliance.ipc.rows import Caller
from appliance.model.token import LONGEST_FILE_BYTES, Tokens, read_tokens

log = logging.getLogger("appliance.director")

NOBODY = Caller("a user whom the kernel does not name", may_write=False)


class Access:
    """The keys of one run. The API knows it as `rest.gateway.Access`."""

    def __init__(self, api: Api, source: str = "configuration") -> None:
        """Raises ConfigError, with the key of each file that cannot be used; `source` is the name of the configuration there."""
        self._api = api
        self._source = source
        self.remote_needs_token = not api.allow_remote_without_token
        self.tokens = Tokens()
        self.tls: tls.ServerTls | None = None
        self._read()

    def _read(self) -> None:
        problems: list[ConfigProblem] = []
        tokens, server_tls = self.tokens, self.tls
        try:
            tokens = self._read_tokens()
        except (EdgeError, ValueError) as error:
            problems.append(_problem("tokens_file", self._api.tokens_file, error))
        try:
            server_tls = self._read_tls()
        except tls.TlsFileError as error:
            problems.append(_problem(error.key, getattr(self._api, error.key), error))
        if problems:
            raise ConfigError(self._source, tuple(problems))
        self.tokens, self.tls = tokens, server_tls

    def _read_tokens(self) -> Tokens:
        if self._api.tokens_file is None:
            return Tokens()
        return read_tokens(key_file.read(self._api.tokens_file, LONGEST_FILE_BYTES, is_secret=True, may_be_link=False))

    def _read_tls(self) -> tls.ServerTls | None:
        if self._api.tls_certificate is None or self._api.tls_key is None:
            return None
        return tls.load(self._api.tls_certificate, self._api.tls_key, self._api.tls_client_ca)

    def context(self) -> ssl.SSLContext:
        """What a new connection with TLS gets; there is one where a listener speaks TLS."""
        assert self.tls is not None
        return self.tls.context

    @property
    def warnings(self) -> Iterator[str]:
        """A sentence for each thing that is allowed and is probably a mistake."""
        if self.tls and (expired := datetime.fromtimestamp(self.tls.expires_at_s, UTC)) <= datetime.now(UTC):
            yield f"api.tls_certificate: the certificate has expired at {expired:%Y-%m-%d %H:%M} UTC, and clients refuse it"

    async def read_again(self) -> None:
        """Read the files again. Either all are put in force, or nothing changes and the log says why."""
        try:
            await asyncio.to_thread(self._read)
        except ConfigError as error:
            for line in str(error).splitlines():
                log.error("%s", line)
            log.error("the tokens and the certificate of the API stay as they are")
            return
        for warning in self.warnings:
            log.warning("%s", warning)
        if self._api.tokens_file or self.tls:
            log.info("keys of the API read again: %d tokens%s", len(self.tokens), ", a certificate" if self.tls else "")

    async def who(self, sock: peer.Socket) -> Caller:
        """The user at the other end of a connection, and whether that user may change anything.

        Those on other hosts may, as far as they get here without a token: the configuration lets them in only when it says so
        in so many words (`api.allow_remote_without_token`). The socket is looked at before this waits.
        """
        try:
            return await asyncio.to_thread(peer.who, peer.note(sock))
        except (EdgeError, OSError) as error:
            log.error("a change is refused, because nobody knows who asks for it: %s", error)
            return NOBODY


def _problem(key: str, path: str | None, error: Exception) -> ConfigProblem:
    return ConfigProblem(("api", key), path, f"{value_text(path)} cannot be used: {error}")
