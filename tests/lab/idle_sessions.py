"""Sessions that a client holds and does not use."""

import json
from typing import Self

from tests.lab.conftest import RunningLab


class IdleSessions:
    """A client in the lab that has made one request on each of its sessions. All are open when the block begins."""

    def __init__(self, lab: RunningLab, count: int) -> None:
        self._client = lab.start("client", "idle_session.py", str(count))

    def __enter__(self) -> Self:
        self._client.__enter__()
        assert self._client.stdout is not None
        assert self._client.stdout.readline() == "idle\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.kill()
        self._client.__exit__(None, None, None)

    def stop(self, ended: int = 0) -> dict[str, str]:
        """Stop the client as soon as so many of its sessions have ended, or ten seconds later.

        Returns how each of its sessions had ended until then, by its source: "alive", "reset" and so on.
        """
        said, _ = self._client.communicate(f"{ended}\n")
        assert self._client.returncode == 0
        return _endings(said)

    def wait_for_the_last(self) -> dict[str, str]:
        """Wait until the other side has ended every session. Returns how, as `stop` does."""
        assert self._client.stdout is not None
        return _endings(self._client.stdout.read())


def _endings(said: str) -> dict[str, str]:
    endings: dict[str, str] = json.loads(said)
    return endings
