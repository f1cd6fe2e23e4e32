"""Every key of the configuration file with its meaning, range, unit and default, for the reference."""

from typing import NamedTuple

from pydantic.fields import FieldInfo

from appliance.config.api_table import Api
from appliance.config.health_check import HealthCheck
from appliance.config.host_table import Host, WantedParameters
from appliance.config.loading import Config
from appliance.config.observe import Observe
from appliance.config.problems import value_text
from appliance.config.session_log import SessionLog
from appliance.config.table import Table
from appliance.config.tables import Gateway, RealServer, Service, StartValues
from appliance.config.values import NAME_RULE, Allowed, Multiple, OneOf, Range


class Key(NamedTuple):
    """One key of a table."""

    name: str
    allowed: str
    """The values that it may have; for an integer its range, both ends included."""
    unit: str
    """The unit of an integer; empty for plain numbers and for all other values."""
    default: str | None
    """The default as it would stand in the file, or in words; None when the key is required."""
    meaning: str


class Section(NamedTuple):
    """One table of the file."""

    header: str
    """Its header line; a header in double brackets may stand more than once."""
    meaning: str
    keys: tuple[Key, ...]


_POOL = Key(
    "NAME",
    f"a list, not empty, of IPv4 addresses in quotes; NAME is {NAME_RULE}",
    "",
    None,
    "The addresses of the pool NAME. At least one pool is required. An address can be in one pool only, and can be neither a VIP "
    "nor a real server.",
)


def sections() -> tuple[Section, ...]:
    """All tables of the file, in the order in which `etc/lvs.toml` has them."""
    meaning = {name: field.description or "" for name, field in Config.model_fields.items()}
    of_service = {name: field.description or "" for name, field in Service.model_fields.items()}
    return (
        Section("[gateway]", meaning["gateway"], _keys(Gateway)),
        Section("[api]", meaning["api"], _keys(Api)),
        Section("[sysctl]", meaning["sysctl"], _keys(StartValues)),
        Section("[host.sysctl]", Host.model_fields["sysctl"].description or "", _keys(WantedParameters)),
        Section("[session_log]", meaning["session_log"], _keys(SessionLog)),
        Section("[local_addresses]", meaning["local_addresses"], (_POOL,)),
        Section("[[service]]", meaning["services"], _keys(Service)),
        Section("[service.health_check]", of_service["health_check"], _keys(HealthCheck)),
        Section("[service.observe]", of_service["observe"], _keys(Observe)),
        Section("[[service.real_server]]", of_service["real_servers"], _keys(RealServer)),
    )


def _keys(table: type[Table]) -> tuple[Key, ...]:
    """The keys of a table, without those that are tables themselves."""
    return tuple(_key(name, field) for name, field in table.model_fields.items() if not field.alias)


def _key(name: str, field: FieldInfo) -> Key:
    [allowed] = [mark for mark in field.metadata if isinstance(mark, Allowed | OneOf | Range)]
    text = ", ".join([allowed.text, *(mark.text for mark in field.metadata if isinstance(mark, Multiple))])
    unit = allowed.unit if isinstance(allowed, Range) else ""
    words = allowed.default if isinstance(allowed, Allowed) else ""
    default = None if field.is_required() else words or _default_text(field.default)
    return Key(name, text, unit, default, field.description or "")


def _default_text(value: object) -> str:
    return f"[{', '.join(map(value_text, value))}]" if isinstance(value, tuple) else value_text(value)
