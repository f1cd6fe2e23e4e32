"""Bearer tokens of the admin API (RFC 6750): their text, the file that lists them, and which one a client has sent. Pure.

The file has one line for each token: its name, its rights, and the SHA-256 of its text. A token has 256 bits of a random source,
so nobody finds it by trying, from its hash or at the API. A slow hash, as passwords need one, would protect nothing here, and
would let strangers make the director compute.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

PREFIX = "apl_"
"""Every token begins so: programs that look for secrets find it, and it can be taken out of lines of a log."""

SECRET_BYTES = 32
"""Bytes of a random source in a token."""

RIGHTS = {"read-only": False, "read-write": True}
"""The words for rights in the file, and whether they allow changes."""

TOKENS_MAX = 256
LONGEST_FILE_BYTES = 64 << 10
_LONGEST_TOKEN = 256
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = '1 to 64 letters, digits, "_", "." and "-"'
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SHOWN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]+")


class Token(NamedTuple):
    """What the appliance knows of one token."""

    name: str
    may_write: bool
    digest: bytes
    """The SHA-256 of its text."""


class Tokens(tuple[Token, ...]):
    """All tokens of a file."""

    __slots__ = ()

    def find(self, text: str) -> Token | None:
        """The token with this text. It is compared with all of them, each in constant time, whichever it is."""
        digest = sha256(text[:_LONGEST_TOKEN].encode(errors="replace")).digest()
        found = None
        for token in self:
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found if len(text) <= _LONGEST_TOKEN else None


def is_name(name: str) -> bool:
    """Whether a token can have this name."""
    return _NAME.fullmatch(name) is not None


def text_of(secret: bytes) -> str:
    """A token of SECRET_BYTES random bytes: the prefix and 43 characters that a header and a URL take as they are."""
    return PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def line_of(name: str, text: str, *, may_write: bool) -> str:
    """The line of a token in the file, without its end."""
    [rights] = [word for word, allowed in RIGHTS.items() if allowed is may_write]
    return f"{name} {rights} sha256:{sha256(text.encode()).hexdigest()}"


def read_tokens(text: str) -> Tokens:
    """The tokens of a file. Blank lines and lines that begin with ``#`` say nothing.

    Raises ValueError with the number of the line. The message never shows the line: somebody may have put a token there.
    """
    tokens: dict[bytes, Token] = {}
    for number, token in _lines(text):
        if token.digest in tokens or token.name in {known.name for known in tokens.values()}:
            raise ValueError(f"line {number}: this name or this token stands there already")
        tokens[token.digest] = token
    if not 1 <= len(tokens) <= TOKENS_MAX:
        raise ValueError(f"it has {len(tokens)} tokens, and 1..{TOKENS_MAX} are allowed")
    return Tokens(tokens.values())


def _lines(text: str) -> Iterator[tuple[int, Token]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        digest = _DIGEST.fullmatch(words[2]) if len(words) == 3 else None
        if digest is None or words[1] not in RIGHTS or not is_name(words[0]):
            raise ValueError(
                f"line {number}: it is not NAME {' | '.join(RIGHTS)} sha256:DIGEST, as `appliance token new` prints it"
            )
        yield number, Token(words[0], RIGHTS[words[1]], bytes.fromhex(digest[1]))


def without_tokens(text: str) -> str:
    """`text`, with everything that looks like a token cut off behind its prefix; for logs."""
    return _SHOWN.sub(f"{PREFIX}…", text)
