"""Looks for rules of the host that see a SYN before the rules that steer: see `policy.early_rules`."""

from collections.abc import Collection
from pathlib import Path

from appliance.edge import nft_dump
from appliance.edge.errors import EdgeError
from appliance.policy.early_rules import first_early

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_NO_GENERATION = -1


class EarlyRules:
    """What was found at the last look."""

    def __init__(self, client_interfaces: Collection[str]) -> None:
        self._client_interfaces = client_interfaces
        self._seen: tuple[int, frozenset[str]] = (_NO_GENERATION, frozenset())
        self._found = ""

    def look(self) -> str:
        """The first of these rules, in words; empty when there are none. While nothing has changed, it takes two short questions
        to the kernel. Blocks. Raises EdgeError when the kernel does not say."""
        state = nft_dump.generation(), _legacy_tables()
        if state != self._seen:
            self._found = first_early(nft_dump.all_chains(), state[1], self._client_interfaces)
            self._seen = state
        return self._found


def _legacy_tables() -> frozenset[str]:
    """The tables of iptables-legacy that are loaded in this network namespace."""
    try:
        return frozenset(_LEGACY_TABLES.read_text().split())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise EdgeError(f"cannot read {_LEGACY_TABLES}: {error.strerror}") from error
