"""The command `appliance replay`: a capture handed to shards once more, without root, and what becomes of each packet."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from appliance.config.changes import ReloadRefusedError
from appliance.config.in_force import Places, config_of, places_of, tables_of
from appliance.config.loading import Config, ConfigError, load
from appliance.director.plans import Slots, worker_plans
from appliance.director.runtime_files import Keys
from appliance.edge.errors import EdgeError
from appliance.ipc.in_force import ENDED, TABLES, InForceError, read_remark
from appliance.ipc.queries import CUT, Query, QueryError, SessionFilter, query_from_json
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.did_you_mean import did_you_mean
from appliance.model.tunables import TUNABLES, TunableError, check_value
from appliance.shard.replay import Replay, Replayed, ReplayError
from appliance.views.replay import as_text
from appliance.wire.pcapng import Captured, CaptureFileError, Remark, read_all

DIFFERENT = 3
"""Exit code when a packet got another verdict than the file says."""

_KEYS = Keys("00" * 16, "11" * 16)
"""Any will do: what they make is not compared with what is in the file."""

CHANGES_MAX = 10_000
"""How often a file may change what is in force: each time takes as long as a reload."""

_OF_FILE = "what the file says to be in force"


class Counted(NamedTuple):
    """How a replay went."""

    judged: int
    not_judged: int
    different: int


def replay(options: argparse.Namespace, default_config: Path) -> int:
    """Replay `options.file`, and print a line for each packet; returns the exit code. It goes by `options.config`, else by what
    the file says, else by `default_config`; and by `options.tunables`, each NAME=VALUE, in any case.

    Raises EdgeError when a file cannot be read or makes no sense, and ConfigError."""
    tunables = dict(map(_tunable, options.tunables))
    run = _Run(load(options.config) if options.config else None, default_config, tunables)
    counted = Counted(0, 0, 0)
    for packet in _replayed(options.file, run):
        sys.stdout.write(as_text(packet))
        counted = Counted(
            counted.judged + bool(packet.words),
            counted.not_judged + (not packet.words),
            counted.different + packet.differs,
        )
    sys.stdout.flush()
    print(
        f"{counted.judged} packets replayed, {counted.not_judged} not replayed, {counted.different} with another verdict than in "
        "the file",
        file=sys.stderr,
    )
    return DIFFERENT if counted.different else 0


def _tunable(text: str) -> tuple[str, int]:
    """Name and value of a tunable. Raises EdgeError."""
    name, _, value = text.partition("=")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise EdgeError(f"--set {text[:80]!r} is not NAME=VALUE, with a number")
    if name not in TUNABLES:
        raise EdgeError(f"--set: there is no tunable {name[:80]!r}{did_you_mean(name[:80], TUNABLES)}")
    try:
        check_value(name, int(value))
    except TunableError as error:
        raise EdgeError(f"--set: {error}") from error
    return name, int(value)


def _replayed(file: Path, run: "_Run") -> Iterator[Replayed]:
    try:
        with file.open("rb") as stream:
            for one in read_all(stream):
                if (packet := run.take(one)) is not None:
                    yield packet
    except OSError as error:
        raise EdgeError(f"{file}: {error.strerror}") from error
    except (CaptureFileError, ReplayError) as error:
        raise EdgeError(f"{file}: {error}") from error
    except ConfigError as error:
        if run.is_given:
            raise
        raise EdgeError(f"{file}: {error}") from error
    except (InForceError, ReloadRefusedError, QueryError) as error:
        raise EdgeError(f"{file}: {_OF_FILE}: {error}") from error


class _Run:
    """A replay, and what it goes by."""

    def __init__(self, given: Config | None, default_config: Path, tunables: Mapping[str, int]) -> None:
        """`given` and `tunables` take the place of what the file says; without both, it goes by the file `default_config`."""
        self.is_given, self._default_config, self._tunables = given is not None, default_config, tunables
        self._tables: dict[str, Any] = self._of(given) if given else {}
        self._places = Places()
        self._shards: _Shards | None = None
        self._changes = 0

    def take(self, one: Captured | Remark) -> Replayed | None:
        """A packet is judged; a remark says what is in force from then on. Raises what `_replayed` catches."""
        if isinstance(one, Captured):
            if self._shards is None:
                if not self._tables:
                    self.is_given, self._tables = True, self._of(load(self._default_config))
                self._shards = _Shards(config_of(self._tables, _OF_FILE))
            return self._shards.replay.put(one)
        if (what := read_remark(one.text)) is not None:
            self._go_by(one.at_s, what)
        return None

    def _of(self, config: Config) -> dict[str, Any]:
        """The tables of a configuration file: for one shard, as long as the capture names no more."""
        return tables_of(config.with_shards(1), {**config.sysctl, **self._tunables})

    def _go_by(self, at_s: float, what: Mapping[str, Any]) -> None:
        if ENDED in what:
            if self._shards is not None:
                self._shards.replay.end(at_s, _cut(what[ENDED]))
            return
        self._changes += 1
        if self._changes > CHANGES_MAX:
            raise InForceError(f"it changes more than {CHANGES_MAX} times")
        if self.is_given:
            what = {key: what[key] for key in what if key == "gateway"}
        self._tables |= {key: what[key] for key in TABLES if key in what}
        if isinstance(sysctl := self._tables.get("sysctl"), dict):
            self._tables["sysctl"] = {**sysctl, **self._tunables}
        self._places = places_of(what, self._places)
        config = config_of(self._tables, _OF_FILE)
        if self._shards is None:
            self._shards = _Shards(config)
        self._shards.change(at_s, config, self._places)


class _Shards:
    """The shards, and where the counters of their real servers are."""

    def __init__(self, config: Config) -> None:
        self._number, self._slots = config.gateway.shards, Slots.sized_for(config)
        plans = worker_plans(config, self._slots.take(config), self._slots.capacity, _KEYS)
        size = size_bytes(self._number, self._slots.capacity)
        self._shared = SharedState.create(memoryview(bytearray(size)), self._number, self._slots.capacity)
        self._shared.set_tunables(config.sysctl)
        self.replay = Replay(plans, self._shared)

    def change(self, at_s: float, config: Config, places: Places) -> None:
        """Go by a configuration from a moment on. Raises InForceError, ReloadRefusedError and ReplayError."""
        if config.gateway.shards != self._number:
            raise InForceError(f"the number of shards changes from {self._number} to {config.gateway.shards}")
        services = self._slots.take(config)
        self._shared.set_tunables(config.sysctl)
        self.replay.change(at_s, services, *(self._slots_of(targets) for targets in places))

    def _slots_of(self, targets: frozenset[tuple[str, str, int]]) -> Sequence[int]:
        taken = self._slots.taken
        return sorted(taken[target] for target in targets if target in taken)


def _cut(fields: object) -> Query:
    """The query for sessions that were ended. Raises QueryError."""
    try:
        clients, wanted = fields["clients"], {key: fields[key] for key in fields if key != "clients"}  # type: ignore[index, attr-defined]
        return query_from_json([*Query(CUT, SessionFilter(**wanted), clients=tuple(clients))])
    except (TypeError, KeyError) as error:
        raise QueryError("what says which sessions were ended has other fields") from error
