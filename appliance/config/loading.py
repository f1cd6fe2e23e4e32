"""Reads a configuration: from TOML text, one immutable and checked `Config`, or every problem of the text with its line.

Keys and single values are checked first (`tables`). Only when these are right, values are checked together (`checks`).
"""

import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from appliance.config import api_checks, checks
from appliance.config.api_table import Api
from appliance.config.health_check import HealthCheck
from appliance.config.host_table import Host
from appliance.config.host_values import HOST_VALUE
from appliance.config.observe import Observe
from appliance.config.problems import ConfigError, ConfigProblem, KeyPath, value_text
from appliance.config.session_log import SessionLog
from appliance.config.table import Table
from appliance.config.tables import Gateway, Pools, RealServer, Service, Services, Sysctl
from appliance.config.toml_lines import TomlLines
from appliance.model.did_you_mean import did_you_mean
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from appliance.model.typed_names import elsewhere, read_name
from appliance.policy.steering import MAX_SHARDS

__all__ = ["Api", "Config", "ConfigError", "ConfigProblem", "Gateway", "RealServer", "Service", "load", "parse"]

LONGEST_FILE_BYTES = 8 << 20
"""Some ten thousand services with their real servers have room in it."""

_MOST_VALUES = 300_000
"""In a configuration; the longest file can have as many when it is services and real servers. There can be a mistake in each."""


class Config(Table):
    """A configuration that the appliance can run."""

    gateway: Gateway = Field(description="The host that the appliance runs on.")
    api: Api = Field(default=Api(), description="The addresses of the admin API, and its keys.")
    sysctl: Sysctl = Field(
        default_factory=dict,
        validate_default=True,
        description="The values with which tunables start; a tunable that is left out starts with its default.",
    )
    host: Host = Field(default=Host(), description="What the appliance asks of its host beyond what it needs.")
    session_log: SessionLog = Field(default=SessionLog(), description="A line for each session at its end.")
    local_addresses: Pools = Field(
        description="Pools of local addresses. Real servers see sessions come from these, and never from the client's address."
    )
    services: Services = Field(
        alias="service", description="A virtual service, which clients connect to; repeat the table for each service."
    )

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence or two for each thing that is allowed and leaves a door open, or asks for more than can be done."""
        return (*checks.warnings(self.gateway), *checks.pace_warnings(self.services), *api_checks.warnings(self.api))

    def with_lane(self, lane: str) -> "Config":
        """The same configuration with another word for gateway.lane, which is one of LANE_WORDS."""
        return self.model_copy(update={"gateway": self.gateway.model_copy(update={"lane": lane})})

    def with_shards(self, shards: int) -> "Config":
        """The same configuration with another number of shards.

        Raises ConfigError, which names the option ``--shards``, when this number is not possible.
        """
        if not 1 <= shards <= MAX_SHARDS:
            _refuse_shards(shards, [f"{shards} is out of range 1..{MAX_SHARDS}"])
        gateway = self.gateway.model_copy(update={"shards": shards})
        messages = [problem.message for problem in checks.sizing_problems(gateway, self.sysctl)]
        if messages:
            _refuse_shards(shards, messages)
        return self.model_copy(update={"gateway": gateway})


def load(path: str | Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every problem, also when the file cannot be read."""
    return parse(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """The text of a configuration file. Raises ConfigError when it cannot be read, or is no text."""
    source = str(path)
    try:
        data = _read(Path(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(source, (ConfigProblem((), None, f"cannot be read: {reason}"),)) from None
    try:
        return data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line, column = _place_after(error.object[: error.start].decode("utf-8", "replace"))
        raise ConfigError(source, (ConfigProblem((), None, "not UTF-8 text", line, column),)) from None


def _read(path: Path) -> bytes:
    """The content of a regular file. Raises OSError and ValueError.

    Nothing else is opened: a FIFO would keep whoever reads it waiting, and a reload with it.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a directory is refused by open(), in words of its own
        raise ValueError("it is not a regular file")
    with path.open("rb") as stream:
        data = stream.read(LONGEST_FILE_BYTES + 1)
    if len(data) > LONGEST_FILE_BYTES:
        raise ValueError(f"it is longer than {LONGEST_FILE_BYTES} bytes")
    return data


def parse(text: str, source: str) -> Config:
    """Check the text of a configuration. `source` is its name in errors. Raises ConfigError with every problem."""
    try:
        return _parse(text, source)
    except RecursionError:  # tomllib calls itself for each level of nesting
        raise ConfigError(source, (ConfigProblem((), None, "lists or tables are nested too deeply"),)) from None


class _Parts(Table):
    """What `with_parts` replaces."""

    local_addresses: Pools
    services: Services = Field(alias="service")


def with_parts(config: Config, services: Sequence[Service | object], pools: Mapping[str, object], source: str) -> Config:
    """The configuration with these services and pools, each as it is or as a table of the file, in the place of its own.

    Raises ConfigError with every problem, as `parse` does; a problem has no line then.
    """
    try:
        parts = _Parts.model_validate({"local_addresses": pools, "service": services})
    except ValidationError as error:
        raise _refusal(map(_problem, error.errors(include_url=False)), "", source) from None
    changed = config.model_copy(update={"services": parts.services, "local_addresses": parts.local_addresses})
    if problems := list(_cross_problems(changed)):
        raise _refusal(problems, "", source)
    return changed


def from_tables(tables: Mapping[str, object], source: str) -> Config:
    """The configuration with these tables of the file. Raises ConfigError with every problem, as `parse` does, without lines."""
    return _checked(tables, "", source)


def _parse(text: str, source: str) -> Config:
    return _checked(_read_toml(text, source), text, source)


def _checked(tables: Mapping[str, object], text: str, source: str) -> Config:
    if next(islice(_values(tables), _MOST_VALUES, None), None) is not None:
        raise ConfigError(source, (ConfigProblem((), None, f"has more than {_MOST_VALUES} values"),))
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise _refusal(map(_problem, error.errors(include_url=False)), text, source) from None
    if problems := list(_cross_problems(config)):
        raise _refusal(problems, text, source)
    return config


def _values(node: object) -> Iterator[object]:
    yield node
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _values(child)


def _read_toml(text: str, source: str) -> dict[str, Any]:
    try:
        text.encode()  # refuses half a surrogate pair, which would fail later wherever the value is used
        if _DEEP_KEY.search(text):  # tomllib takes time and memory that grow with the square of the parts
            raise RecursionError
        return tomllib.loads(text)
    except ValueError as error:  # not only TOMLDecodeError: for instance integers of thousands of digits
        reason, line, column = _syntax_error(str(error), text)
        raise ConfigError(source, (ConfigProblem((), None, f"not valid TOML: {reason}", line, column),)) from None


_DEEP_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""",
    re.MULTILINE,
)
"""A key with more dots than any that is known."""

_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def _syntax_error(message: str, text: str) -> tuple[str, int | None, int | None]:
    """The reason, the line and the column in a message of tomllib, which has them only as text."""
    at = _AT.search(message)
    if not at:
        return message, None, None
    line, column = (int(at["line"]), int(at["column"])) if at["line"] else _place_after(text)
    return message[: at.start()], line, column


def _place_after(text: str) -> tuple[int, int]:
    """The line and the column, both counted from 1, of the character that would follow `text`."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _refusal(problems: Iterable[ConfigProblem], text: str, source: str) -> ConfigError:
    lines = TomlLines(text)
    located = [replace(problem, line=lines.line_of(problem.path)) for problem in problems]
    return ConfigError(source, tuple(sorted(located, key=lambda problem: problem.line or 0)))


def _cross_problems(config: Config) -> Iterator[ConfigProblem]:
    yield from checks.sizing_problems(config.gateway, config.sysctl)
    yield from api_checks.problems(config.api)
    yield from checks.tunable_problems(config.sysctl)
    yield from checks.service_problems(config.services, config.local_addresses)
    yield from checks.address_problems(config.services, config.local_addresses)
    yield from checks.side_problems(config.gateway, config.services)
    yield from checks.scheduler_problems(config.services)
    yield from checks.health_check_problems(config.services)
    yield from checks.access_problems(config.services)
    yield from checks.session_log_problems(config.session_log, config.services)


def _keys(model: type[Table]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


_KEYS: dict[KeyPath, Iterable[str]] = {
    (): _keys(Config),
    ("gateway",): _keys(Gateway),
    ("api",): _keys(Api),
    ("sysctl",): TUNABLES,
    ("host",): _keys(Host),
    ("host", "sysctl"): HOST_PARAMETERS,
    ("service",): _keys(Service),
    ("service", "real_server"): _keys(RealServer),
    ("service", "health_check"): _keys(HealthCheck),
    ("service", "real_server", "health_check"): _keys(HealthCheck),
    ("service", "observe"): _keys(Observe),
    ("session_log",): _keys(SessionLog),
}
"""The keys of each table, by the path of the table without list indices."""

_WRONG_TYPE = {
    "int_type": "is not an integer",
    "float_type": "is not a number",
    "bool_type": "is not true or false",
    "string_type": "is not a string",
    "tuple_type": "is not a list",
    "dict_type": "is not a table",
    "model_type": "is not a table",
}


def _problem(error: ErrorDetails) -> ConfigProblem:
    """An error of pydantic as a ConfigProblem, with the messages of this project."""
    path, value, kind = error["loc"], error["input"], error["type"]
    if kind == "missing":
        return ConfigProblem(path, None, "is required")
    if kind == "extra_forbidden":
        return ConfigProblem(path, value, f"unknown key{_known_key_hint(path)}")
    if kind == "too_short":
        return ConfigProblem(path, value, "must not be empty")
    if kind == HOST_VALUE:
        return ConfigProblem(path, value, error["msg"])
    if path[-1] == "[key]":  # pydantic marks a problem of the key itself so
        path = path[:-1]
    predicate = str(error["ctx"]["error"]) if kind == "value_error" else _WRONG_TYPE.get(kind, error["msg"])
    return ConfigProblem(path, value, f"{value_text(value)} {predicate}")


def _known_key_hint(path: KeyPath) -> str:
    table = tuple(part for part in path[:-1] if isinstance(part, str))
    key, known = str(path[-1]), _KEYS.get(table, ())
    if table[-1:] != ("sysctl",):
        return did_you_mean(key, known)
    if key == "net":  # net.ipv4.NAME without quotes is a table in TOML
        return "; write the name alone, without net.ipv4. in front"
    there = elsewhere(key, asked_for_tunable=table == ("sysctl",))
    return f"; {there}" if there else did_you_mean(read_name(key).name, known)


def _refuse_shards(shards: int, messages: Iterable[str]) -> NoReturn:
    raise ConfigError("command line", tuple(ConfigProblem(("--shards",), shards, message) for message in messages))
