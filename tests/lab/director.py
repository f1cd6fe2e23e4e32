"""The director and the workers of a running lab, and how the director is made to read its configuration again."""

import json
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.lab.conftest import RunningLab

_OVER = ("configuration read again", "reload refused")
"""How the line begins with which the director ends a reload."""


def worker_pids(lab: RunningLab) -> list[int]:
    """The process of each worker, by shard."""
    pids: list[int] = [shard["pid"] for shard in lab.api_json("/healthz")["shards"]]
    return pids


def director_pid(lab: RunningLab) -> int:
    """The parent of the workers."""
    return int(lab.run("gateway", "ps", "-o", "ppid=", "-p", str(worker_pids(lab)[0])))


def is_healthy(lab: RunningLab) -> bool:
    """Whether there is an API, and everything is well."""
    return lab.run("gateway", "curl", "-s", lab.environment["LAB_API"] + "/healthz", check=False) == "ok\n"


def pids_when_well(lab: RunningLab) -> set[int]:
    """The processes of the workers when everything is well; none when it is not, or there is no API.

    This is one answer: between two questions an API may go away.
    """
    command = ("curl", "-s", "-H", "Accept: application/json", lab.environment["LAB_API"] + "/healthz")
    answer = lab.run("gateway", *command, check=False)
    health = json.loads(answer or '{"status": "down"}')
    is_well = health["status"] == "ok" and not health["notes"] and not health["services_down"]
    return {shard["pid"] for shard in health["shards"]} if is_well else set()


def are_replaced(lab: RunningLab, before: Iterable[int]) -> bool:
    """Whether everything is well, with none of these workers."""
    return bool(now := pids_when_well(lab)) and now.isdisjoint(before)


def is_one_replaced(lab: RunningLab, before: Iterable[int]) -> bool:
    """Whether everything is well, with one worker at least that was not among these."""
    return bool(pids_when_well(lab) - set(before))


def kill_workers(lab: RunningLab) -> None:
    """kill -9 of all workers."""
    for pid in worker_pids(lab):
        os.kill(pid, signal.SIGKILL)


def kill_all(lab: RunningLab) -> None:
    """kill -9 of the director and all workers, which end with it: they may be gone already."""
    pids = worker_pids(lab)
    os.kill(director_pid(lab), signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def log_lines(lab: RunningLab, part: str = "director") -> list[str]:
    """What the director, or another part of it, has logged, without the time."""
    log = (Path(lab.environment["LAB_DIR"]) / "appliance.log").read_text().splitlines()
    return [line.partition(f" appliance.{part}: ")[2] for line in log if f" appliance.{part}: " in line]


def reload(lab: RunningLab, text: str) -> list[str]:
    """Write `text` to the configuration file of the running appliance and have it read again. Returns what was logged."""
    (Path(lab.environment["LAB_DIR"]) / "lvs.toml").write_text(text)
    before = len(log_lines(lab))
    os.kill(director_pid(lab), signal.SIGHUP)
    lab.wait_until("the reload is over", lambda: any(line.startswith(_OVER) for line in log_lines(lab)[before:]))
    # Each worker answers this after the change, which was sent to it before on the same channel.
    lab.api("/stats/ip_vs_conn")
    return log_lines(lab)[before:]


def outcome(said: list[str]) -> str:
    """The line of a reload that says what has become of it. Others may come behind it."""
    return next(line for line in said if line.startswith(_OVER))


def are_told(lab: RunningLab) -> bool:
    """Whether all shards know which real servers are up: a change of state is noted when they have been told."""
    health = lab.api_json("/health")
    noted = {(each["service"], each["address"], each["port"]): each["state"] for each in health["changes"]}
    return all(
        noted.get((service["service"], server["address"], server["port"]), server["state"]) == server["state"]
        for service in health["services"]
        for server in service["real_servers"]
    )
