"""One run of the appliance on this host, from its configuration to its end; and what is done when only its traces are left."""

import asyncio
import signal
import time

from appliance.config.loading import Gateway
from appliance.director import heap, kept
from appliance.director.access_lists import read_access
from appliance.director.asked import Asked
from appliance.director.config_file import ConfigSource
from appliance.director.director import Director, ServeApi
from appliance.director.farewell import reset_both_ends
from appliance.director.host import Host
from appliance.director.kept import Kept
from appliance.director.lane import Lane
from appliance.director.other_namespace import forget_other_namespace, note_namespace
from appliance.director.remembered_clients import recall
from appliance.director.runtime_files import Keys, kept_keys, namespace_number, runtime_directory, state_file
from appliance.director.steps import do_all
from appliance.edge import capabilities, instance_lock
from appliance.policy.steering import hash_seed


async def run(file: ConfigSource, serve_api: ServeApi) -> None:
    """Run the appliance until SIGTERM or SIGINT, which end it for good, or SIGUSR2, after which the next run goes on with all
    sessions. At a SIGHUP it reads its configuration again.

    Raises ConfigError, EdgeError or WorkerFailedError, or what `serve_api` raises, when it cannot start.
    """
    capabilities.keep_loading_from_children()  # before there is a thread
    heap.prepare()
    config = file.read()
    access = read_access(config)
    asked = Asked()
    loop = asyncio.get_running_loop()
    signals = {
        signal.SIGTERM: asked.stop,
        signal.SIGINT: asked.stop,
        signal.SIGUSR2: asked.leave,
        signal.SIGHUP: asked.reload,
    }
    for number, event in signals.items():
        loop.add_signal_handler(number, event.set)
    with instance_lock.held(state_file("lock")):
        forget_other_namespace()
        note_namespace()
        keys = kept_keys()
        host = Host(hash_seed(keys.isn_secret))
        lane = _lane(config.gateway, keys)
        host.access.services = access
        kept_before, down, drained = Kept.from_before(config), kept.kept_down(), kept.kept_drains(time.monotonic())
        recall(lane.pins, kept_before.shared)
        director = Director(config, keys, file, host, lane, kept_before, was_down=down, drained=drained, keep=heap.Heap().keep)
        await director.run(serve_api, asked)


def clean_up() -> bool:
    """End for good what a run has left in this network namespace, sessions first; returns whether there was anything.

    Raises EdgeError while an appliance runs; and in the end, when the list of what is to be undone cannot be used, or something
    of the lane stays.
    """
    found: list[bool] = []
    with instance_lock.held(state_file("lock")):
        forget_other_namespace()
        lane, host = _lane(None), Host()
        do_all((lambda: found.append(lane.clean_up()), lambda: found.append(host.undo_leftovers()), kept.forget))
    return any(found)


def _lane(gateway: Gateway | None, keys: Keys | None = None) -> Lane:
    secrets = (bytes.fromhex(keys.cookie_secret), hash_seed(keys.isn_secret)) if keys else ()
    return Lane(gateway, runtime_directory() / "bpf", str(namespace_number()), reset_both_ends, *secrets)
