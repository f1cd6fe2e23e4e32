"""The tables of the configuration file, key by key: type, range, default. What one value alone can get wrong is found here.

Every check says what is wrong as the end of a sentence that begins with the value (``is out of range 1..65535``); the sentence
is put together in one place, `config._problem`.
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model
from pydantic_core import PydanticCustomError

from appliance.model.tunables import TUNABLES
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.policy.steering import MAX_SHARDS

LAST_QUEUE_NUM = 65535

T = TypeVar("T")

_SOCKET_PATH_BYTES = 107  # sun_path less the NUL

_UNUSABLE = {
    "the unspecified address": IPv4Network("0.0.0.0/32"),
    "a loopback address": IPv4Network("127.0.0.0/8"),
    "a multicast address": IPv4Network("224.0.0.0/4"),
    "the broadcast address": IPv4Network("255.255.255.255/32"),
}

_NAME = re.compile(r"[A-Za-z0-9_.-]+")

# 15 is IFNAMSIZ less the NUL. The kernel allows non-ASCII, quotes, stars and backslashes as well; but these names go into an
# nft ruleset, where a quote cannot be quoted and a star or a backslash makes a pattern.
_INTERFACE_NAME = re.compile(r'(?:(?![/:"*\\])[!-~]){1,15}')
_TCP_LISTEN = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


def _within(low: int, high: int, unit: str = "") -> AfterValidator:
    allowed = f"{low}..{high} {unit}".rstrip()

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"is out of range {allowed}")
        return value

    return AfterValidator(check)


def _available(names: Sequence[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            listed = ", ".join(f'"{name}"' for name in names)
            raise ValueError(f"is not available in this version; available: {listed}")
        return value

    return AfterValidator(check)


def _check_synproxy(value: object, service: ValidationInfo) -> object:
    if value is not True and value is not False and value != "auto":
        raise ValueError('is not true, false or "auto"')
    if value and service.data.get("protocol") == "udp":
        raise ValueError("is refused: SYNPROXY answers TCP handshakes, and this is a UDP service")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError('is no name: letters, digits, "_", "." and "-" make one')
    return value


def _interface_name(value: str) -> str:
    if value in (".", "..") or not _INTERFACE_NAME.fullmatch(value):
        raise ValueError("is no interface name: 1 to 15 ASCII characters, no blank, slash, colon, quote, star or backslash")
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


def _listen_address(value: str) -> str:
    """The address in its one spelling, so that equal ones compare equal."""
    if value.startswith("unix:"):
        _check_socket_path(value.removeprefix("unix:"))
        return value
    try:
        return _tcp_listen_address(value)
    except AddressValueError:
        raise ValueError("is neither IP:PORT, [IPV6]:PORT (IP addresses as numbers) nor unix:/absolute/path") from None


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
        raise ValueError("does not have the absolute path of a socket behind unix:")
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise ValueError(f"has a path of {len(path.encode())} bytes; {_SOCKET_PATH_BYTES} are possible")


def _not_empty(value: T) -> T:
    # Field(min_length=1) would count only the entries that are right, and call a list of wrong ones empty.
    if not value:
        raise PydanticCustomError("too_short", "must not be empty")
    return value


def _double_brackets(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("is not a list of tables; put its header in double brackets")
    return value


# TOML has lists and frozen objects want tuples: only this one step of the strict checking is relaxed, not the items.
Listed = Annotated[tuple[T, ...], Field(strict=False)]
NonEmpty = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_not_empty)]

Name = Annotated[str, AfterValidator(_name)]
Port = Annotated[int, _within(1, 65535)]
HostAddress = Annotated[IPv4Address, BeforeValidator(_host_address)]
InterfaceName = Annotated[str, AfterValidator(_interface_name)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]


class Table(BaseModel):
    """A table of the file: immutable, no key unknown, no value converted behind the user's back."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Gateway(Table):
    """`[gateway]`: the host the appliance runs on."""

    shards: Annotated[int, _within(1, MAX_SHARDS)] = 1
    queue_base: Annotated[int, _within(0, LAST_QUEUE_NUM)] = 0
    """The NFQUEUE number of shard 0; the other shards follow."""
    client_interface: InterfaceName
    server_interface: InterfaceName
    manage_addresses: bool = True
    """Whether the appliance puts the VIPs and local addresses on the interfaces, and takes them off again."""


class Api(Table):
    """`[api]`: where the admin API listens."""

    listen: NonEmpty[ListenAddress] = ("127.0.0.1:9380", "unix:/run/appliance/api.sock")
    """Each ``IP:PORT``, ``[IPV6]:PORT`` or ``unix:/absolute/path``, in its shortest spelling."""


class RealServer(Table):
    """`[[service.real_server]]`: a server behind a VIP."""

    address: HostAddress
    port: Port
    weight: Annotated[int, _within(0, 65535)] = 100
    """0 drains: old connections go on, none is new."""


class Service(Table):
    """`[[service]]`: a virtual service."""

    name: Name
    vip: HostAddress
    port: Port
    protocol: Annotated[str, _available(["tcp", "udp"])] = "tcp"
    scheduler: Annotated[str, _available(list(SCHEDULERS))] = "rr"
    # Behind `protocol`, which its check looks at: fields are checked in the order they stand here.
    synproxy: Annotated[bool | Literal["auto"], BeforeValidator(_check_synproxy)] = False
    synproxy_defer: Annotated[int, _within(0, 1)] | None = None
    """Wins over the tunable of that name; None leaves it to that."""
    local_addresses: str = "default"
    """Name of the pool."""
    real_servers: Annotated[Listed[RealServer], BeforeValidator(_double_brackets)] = Field(default=(), alias="real_server")
    """May be empty: the service is there and refuses its clients."""


_tunable_fields: dict[str, Any] = {
    tunable.name: (Annotated[int, _within(tunable.min, tunable.max, tunable.unit)], tunable.default)
    for tunable in TUNABLES.values()
}
_Sysctl = create_model("_Sysctl", __base__=Table, **_tunable_fields)


def _complete(table: object) -> dict[str, int]:
    return _Sysctl.model_validate(table).model_dump()


Sysctl = Annotated[dict[str, int], BeforeValidator(_complete)]
"""Every tunable by name; those that the file leaves out have their defaults."""

Services = Annotated[NonEmpty[Service], BeforeValidator(_double_brackets)]

Pools = Annotated[dict[Name, NonEmpty[HostAddress]], AfterValidator(_not_empty)]
"""Local addresses by the name of their pool."""
