"""The command `appliance replay`: a capture handed to a shard once more, without root, and what becomes of each packet."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from appliance.config.loading import Config, load
from appliance.director.plans import Slots, worker_plans
from appliance.director.runtime_files import Keys
from appliance.edge.errors import EdgeError
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.shard.replay import Replay, Replayed, ReplayError
from appliance.views.replay import as_text
from appliance.wire.pcapng import CaptureFileError, read_packets

DIFFERENT = 3
"""Exit code when a packet got another verdict than the file says."""

_KEYS = Keys("00" * 16, "11" * 16)
"""Any will do: what they make is not compared with what is in the file."""


class Counted(NamedTuple):
    """How a replay went."""

    judged: int
    not_judged: int
    different: int


def replay(options: argparse.Namespace) -> int:
    """Replay `options.file` with the configuration `options.config`, and print a line for each packet; returns the exit code.

    Raises EdgeError when a file cannot be read, and ConfigError."""
    config = load(options.config)
    counted = Counted(0, 0, 0)
    for packet in _replayed(options.file, config):
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


def _replayed(file: Path, config: Config) -> Iterator[Replayed]:
    try:
        with file.open("rb") as stream:
            shard = _shard(config)
            for captured in read_packets(stream):
                if (packet := shard.put(captured)) is not None:
                    yield packet
    except OSError as error:
        raise EdgeError(f"{file}: {error.strerror}") from error
    except (CaptureFileError, ReplayError) as error:
        raise EdgeError(f"{file}: {error}") from error


def _shard(config: Config) -> Replay:
    """One shard that has all slots, with the services and tunables of a configuration."""
    config = config.with_shards(1)
    slots = Slots.sized_for(config)
    [plan] = worker_plans(config, slots.take(config), slots.capacity, _KEYS)
    shared = SharedState.create(memoryview(bytearray(size_bytes(1, slots.capacity))), 1, slots.capacity)
    shared.set_tunables(config.sysctl)
    return Replay(plan, shared)
