"""The director's own configuration with a file in memory and no workers behind it, for tests of changes and of the API."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, parse
from appliance.config.planned import differences, planned
from appliance.director.configuration import Configuration
from appliance.director.confirmation import Confirmation
from appliance.edge.errors import EdgeError
from appliance.ipc.rows import ChangePlan
from appliance.ipc.shared_layout import SharedState
from tests.support.api_changes import SHIPPED


class FakeFile:
    """A file whose content is what a function of the test returns; it cannot be written."""

    path = Path("/etc/appliance/lvs.toml")

    def __init__(self, read: Callable[[], Config]) -> None:
        self.read = read

    def read_text(self) -> str:
        """It has none."""
        raise NotImplementedError

    def replace(self, before: str, after: str) -> None:
        """It cannot be."""
        raise NotImplementedError

    def parse(self, text: str, source: str) -> Config:
        """As on a command line that says nothing."""
        return parse(text, source)


class TextFile(FakeFile):
    """The text of a configuration, which may be written unless the test forbids it."""

    def __init__(self, owner: "FakeConfiguration") -> None:
        super().__init__(lambda: parse(owner.text, "lvs.toml"))
        self._owner = owner

    def read_text(self) -> str:
        """The text."""
        return self._owner.text

    def replace(self, before: str, after: str) -> None:
        """Write it."""
        if self._owner.is_read_only or self._owner.text != before:
            raise EdgeError("it cannot be written: Read-only file system")
        self._owner.text = after


Sleep = Callable[[float], Awaitable[None]]


class FakeConfiguration(Configuration):
    """That of the shipped file, until the test sets something else."""

    def __init__(
        self, shared: SharedState, config: Config | None = None, clock: tuple[Sleep, Callable[[], float]] | None = None
    ) -> None:
        """`clock` sleeps and says what time it is."""
        self.shared = shared
        self._text, self._real_file = SHIPPED, cast("Path | None", None)
        self.in_force = config or parse(SHIPPED, "lvs.toml")
        self.refuses = ""
        self.sessions = 3
        self.is_read_only = False
        shared.set_tunables(dict(self.in_force.sysctl))
        super().__init__(
            TextFile(self),
            lambda: self.in_force,
            shared.tunable,
            self.put,
            self.plan_of,
            asyncio.Lock(),
        )
        if clock:
            self.confirmation = Confirmation(self._lock, lambda before: self.put(before, ""), *clock)

    @property
    def text(self) -> str:
        """What the file says."""
        return self._real_file.read_text() if self._real_file else self._text

    @text.setter
    def text(self, text: str) -> None:
        if self._real_file:
            self._real_file.write_text(text)
        self._text = text

    def keep_in(self, file: Path) -> None:
        """Go by a real file."""
        self._real_file = self._file.path = file

    async def plan_of(self, running: Config, wanted: Config) -> ChangePlan:
        """Every service and real server has the number of sessions that the test says."""
        return planned(running, wanted, lambda _service, _endpoint: self.sessions)

    async def put(self, wanted: Config, _: str) -> list[str]:
        """Everything is in force at once. Raises ReloadRefusedError with the words of the test, if it has some."""
        if self.refuses:
            raise ReloadRefusedError(self.refuses)
        before, self.in_force = self.in_force, wanted
        return differences(before, wanted)
