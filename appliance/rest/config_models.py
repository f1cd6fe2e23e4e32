"""The shapes of what the API answers and takes about the configuration, as pydantic models."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from appliance.rest.models import Count, Model


class ConfigText(RootModel[str]):
    """A configuration as TOML."""


class ConfigState(Model):
    """The configuration in force, beside the file."""

    file: str
    differences: list[str]
    file_problem: str
    unconfirmed_s: float | None
    config: dict[str, Any]


class PlannedChange(Model):
    """One thing that changes."""

    change: str
    sessions: Literal["kept", "waiting", "ended", ""]
    number: Count


class ChangePlan(Model):
    """What a configuration would change."""

    changes: list[PlannedChange]
    needs_restart: list[str]


class Applied(Model):
    """What has changed."""

    changes: list[str]
    confirm_within_s: Count


class Saved(Model):
    """The file with what was changed meanwhile."""

    file: str
    changes: list[str]
    before: str
    after: str
    is_written: bool


class Confirmed(Model):
    """A change stays."""

    confirmed: Literal[True]


class RealServerTable(BaseModel):
    """A real server, with the keys of the configuration file that are given."""

    model_config = ConfigDict(extra="allow")

    address: str
    port: int


class ServiceTable(BaseModel):
    """A service, with the keys of the configuration file that are given."""

    model_config = ConfigDict(extra="allow")

    name: str
    vip: str
    port: int
    real_server: list[RealServerTable] = []


class ServiceBody(BaseModel):
    """A service without its name, which the path says."""

    model_config = ConfigDict(extra="allow")

    vip: str
    port: int


class Keys(BaseModel):
    """Some keys of the configuration file."""

    model_config = ConfigDict(extra="allow")


class Pool(Model):
    """A pool of local addresses."""

    addresses: list[str]
