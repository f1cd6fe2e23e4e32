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


def are_followed(lab: RunningLab, before: Iterable[int | None]) -> bool:
    """Whether everything is well, and no worker is one of these. One question, whose answer may stay away: an API that ends may
    still have answered the question before."""
    url = f"{lab.environment['LAB_API']}/healthz?format=json"
    said = lab.run("gateway", "curl", "-s", url, check=False)
    try:
        health = json.loads(said)
    except ValueError:
        return False
    return health["status"] == "ok" and not {shard["pid"] for shard in health["shards"]} & set(before)


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
