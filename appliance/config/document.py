"""A configuration as a document: the tables of the file with the keys that are given. Pure."""

from typing import Any

from appliance.config.edits import pools_of, value_of
from appliance.config.loading import Config
from appliance.model.tunables import TUNABLES


def document_of(config: Config) -> dict[str, Any]:
    """The tables, as JSON has them; of tunables, those that do not have their default."""
    document: dict[str, Any] = {
        "gateway": value_of(config.gateway),
        "api": value_of(config.api),
        "sysctl": {name: value for name, value in config.sysctl.items() if value != TUNABLES[name].default},
        "host": {"sysctl": {name: _plain(values) for name, values in config.host.sysctl.items()}},
        "session_log": value_of(config.session_log),
        "local_addresses": pools_of(config),
        "service": [value_of(service) for service in config.services],
    }
    return {key: table for key, table in document.items() if table and table != {"sysctl": {}}}


def _plain(values: tuple[int, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)
