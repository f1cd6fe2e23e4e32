"""The types of single values in the configuration file: what each allows, and what is wrong with a value that it refuses.

Each check says what is wrong as the end of a sentence that begins with the value (``is out of range 1..65535``);
`loading` puts the sentence together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")

_SOCKET_PATH_BYTES = 107  # sun_path without its NUL

_UNUSABLE = {
    "the unspecified address": IPv4Network("0.0.0.0/32"),
    "a loopback address": IPv4Network("127.0.0.0/8"),
    "a multicast address": IPv4Network("224.0.0.0/4"),
    "the broadcast address": IPv4Network("255.255.255.255/32"),
}

# As long as names of tokens. No program that resolves paths asks for `/services/..`: it asks for `/`.
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,64}")
NAME_RULE = '1 to 64 letters, digits, "_", "." and "-", and neither "." nor ".."'

# 15 is IFNAMSIZ without its NUL. The kernel also allows non-ASCII characters, quotes, stars and backslashes; but these names
# go into an nft ruleset, where a quote cannot be escaped and a star or a backslash makes a pattern.
INTERFACE_NAME = re.compile(r'(?:(?![/:"*\\])[!-~]){1,15}')
INTERFACE_RULE = "1 to 15 ASCII characters and no blank, slash, colon, quote, star or backslash"
_TCP_LISTEN = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says in words which values a key allows. It checks nothing; the reference of the file is made from it."""

    text: str
    default: str = ""
    """The default in words, where its value alone would not explain it."""


@dataclass(frozen=True, slots=True)
class Range:
    """Allows the numbers `low`..`high`, both included; integers, where the key is one."""

    low: float
    high: float
    unit: str = ""

    @property
    def text(self) -> str:
        """The range without its unit."""
        return f"{self.low}..{self.high}"

    def check(self, value: float) -> float:
        """`value`. Raises ValueError when it is out of range, or no number."""
        if not self.low <= value <= self.high:
            raise ValueError(f"is out of range {self.text} {self.unit}".rstrip())
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True, slots=True)
class Multiple:
    """Allows the multiples of `step` only; a Range stands beside it and says the rest."""

    step: int

    @property
    def text(self) -> str:
        """The rule, as it stands behind the range."""
        return f"a multiple of {self.step}"

    def check(self, value: int) -> int:
        """`value`. Raises ValueError when it is no multiple."""
        if value % self.step:
            raise ValueError(f"is not {self.text}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True, slots=True)
class OneOf:
    """Allows only these words."""

    words: Sequence[str]

    @property
    def text(self) -> str:
        """The words, in quotes."""
        return ", ".join(f'"{word}"' for word in self.words)

    def check(self, value: str) -> str:
        """`value`. Raises ValueError when it is another word."""
        if value not in self.words:
            raise ValueError(f"is not available in this version; available: {self.text}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def _check_synproxy(value: object, service: ValidationInfo) -> object:
    if value is not True and value is not False and value != "auto":
        raise ValueError('is not true, false or "auto"')
    if value and service.data.get("protocol") == "udp":
        raise ValueError("is not possible for a UDP service: SYNPROXY answers TCP handshakes")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"is not a name; a name is {NAME_RULE}")
    return value


def _interface_name(value: str) -> str:
    if value in (".", "..") or not INTERFACE_NAME.fullmatch(value):
        raise ValueError(f"is not an interface name; it has {INTERFACE_RULE}")
    return value


def _host_address(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise ValueError("is not an IPv4 address in quotes")
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError("is not an IPv4 address") from None
    if isinstance(address, IPv6Address):
        raise ValueError("is an IPv6 address; IPv6 is not supported yet")
    for kind, network in _UNUSABLE.items():
        if address in network:
            raise ValueError(f"is {kind} and cannot be used here")
    return address


def _network(value: object) -> IPv4Network:
    if not isinstance(value, str):
        raise ValueError("is not an IPv4 network in quotes")
    try:
        return IPv4Network(value)
    except ValueError as error:
        reason = "has bits set beyond its prefix" if "host bits" in str(error) else "is not an IPv4 network, such as 192.0.2.0/24"
        raise ValueError(reason) from None


TLS = "tls:"
"""How an address begins on which the API speaks TLS."""


def _listen_address(value: str) -> str:
    """The address in its shortest spelling, so that equal addresses compare equal."""
    if value.startswith("unix:"):
        _check_socket_path(value.removeprefix("unix:"))
        return value
    try:
        return (TLS if value.startswith(TLS) else "") + _tcp_listen_address(value.removeprefix(TLS))
    except AddressValueError:
        raise ValueError(
            "is not IP:PORT or [IPV6]:PORT with a numeric address, nor one of these after tls:, and not unix:/absolute/path"
        ) from None


def _file_path(value: str) -> str:
    if not value.startswith("/") or value.endswith("/") or "\0" in value:
        raise ValueError("is not the absolute path of a file")
    return value


def _tcp_listen_address(value: str) -> str:
    found = _TCP_LISTEN.fullmatch(value)
    if not found:
        raise AddressValueError
    host = f"[{IPv6Address(found['v6'])}]" if found["v6"] else str(IPv4Address(found["v4"]))
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise ValueError("has a port out of range 1..65535")
    return f"{host}:{port}"


def _check_socket_path(path: str) -> None:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError("does not have the absolute path of a socket after unix:")
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise ValueError(f"has a path of {len(path.encode())} bytes; at most {_SOCKET_PATH_BYTES} are allowed")


def not_empty(value: T) -> T:
    """`value`. Raises PydanticCustomError when it is empty."""
    # Field(min_length=1) would count only valid entries, and would call a list of invalid ones empty.
    if not value:
        raise PydanticCustomError("too_short", "must not be empty")
    return value


def double_brackets(value: object) -> object:
    """`value`. Raises ValueError for a single table, which is what single brackets make."""
    if isinstance(value, dict):
        raise ValueError("is not a list of tables; put its header in double brackets")
    return value


# TOML has lists, and frozen objects need tuples: only this step is not strict; the checks of the items are.
Listed = Annotated[tuple[T, ...], Field(strict=False)]
NonEmpty = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(not_empty)]

Name = Annotated[str, AfterValidator(_name), Allowed(NAME_RULE)]
Port = Annotated[int, Range(1, 65535)]
HostAddress = Annotated[IPv4Address, BeforeValidator(_host_address), Allowed("an IPv4 address in quotes")]
Network = Annotated[IPv4Network, BeforeValidator(_network), Allowed("an IPv4 network in quotes")]
InterfaceName = Annotated[str, AfterValidator(_interface_name), Allowed(INTERFACE_RULE)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
FilePath = Annotated[str, AfterValidator(_file_path)]
SynproxyMode = BeforeValidator(_check_synproxy)
