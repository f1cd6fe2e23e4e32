"""A real Prometheus that watches the gateway of a lab with the files of deploy/prometheus, but asks every second."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab
from tests.support.prometheus import program

FILES = Path(__file__).parents[2] / "deploy" / "prometheus"
LISTEN = "127.0.0.1:9390"
"""In the namespace of the gateway, which has a loopback interface of its own."""

SHIPPED_TARGET, SHIPPED_INTERVAL = "127.0.0.1:9380", "15s"


class Prometheus:
    """What a test asks of it."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab

    def ask(self, path: str, **fields: str) -> Any:
        """The data of an answer of its API. A query that it refuses fails the test."""
        encoded = (word for name, value in fields.items() for word in ("--data-urlencode", f"{name}={value}"))
        answer = self._lab.run("gateway", "curl", "--silent", "--get", *encoded, f"http://{LISTEN}/api/v1/{path}")
        parsed = json.loads(answer)
        if parsed["status"] != "success":
            pytest.fail(f"{path} {fields}: {parsed['errorType']}: {parsed['error']}")
        return parsed["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series that a query finds now."""
        result: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return result

    def has(self, query: str) -> bool:
        """Whether a query finds a series now."""
        return bool(self.query(query))

    def rules(self) -> list[dict[str, Any]]:
        """Every alert: its name, query, state, health and last error."""
        groups = self.ask("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def is_up(self) -> bool:
        """Whether it answers yet."""
        return "Ready" in self._lab.run("gateway", "curl", "--silent", f"http://{LISTEN}/-/ready", check=False)


@contextmanager
def watching(lab: RunningLab, folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus beside the gateway, whose data lie in `folder`."""
    text = (FILES / "prometheus.yml").read_text()
    assert text.count(SHIPPED_TARGET) == 1
    assert text.count(SHIPPED_INTERVAL) == 2
    target = lab.environment["LAB_API"].removeprefix("http://")
    (folder / "prometheus.yml").write_text(text.replace(SHIPPED_TARGET, target).replace(SHIPPED_INTERVAL, "1s"))
    shutil.copy(FILES / "alerts.yml", folder)
    options = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={LISTEN}")
    log = (folder / "log").open("w")
    with log, subprocess.Popen(lab.enter("gateway", program("prometheus"), *options), stdout=log, stderr=log) as process:
        prometheus = Prometheus(lab)
        try:
            lab.wait_until("Prometheus is up", lambda: prometheus.is_up() or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield prometheus
        finally:
            process.terminate()
