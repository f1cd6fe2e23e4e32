"""The director's own configuration with a file in memory and no workers behind it, for tests of changes and of the API."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, parse
from appliance.config.planned import differences
from appliance.director.configuration import Configuration
from appliance.director.confirmation import Confirmation
from appliance.ipc.shared_layout import SharedState
from tests.support.api_changes import SHIPPED


class FakeFile:
    """A file whose content is what a function of the test returns."""

    def __init__(self, read: Callable[[], Config], path: Path = Path("/etc/appliance/lvs.toml")) -> None:
        self.read = read
        self.path = path

    def parse(self, text: str, source: str) -> Config:
        """As on a command line that says nothing."""
        return parse(text, source)


Sleep = Callable[[float], Awaitable[None]]


class FakeConfiguration(Configuration):
    """That of the shipped file, until the test sets something else."""

    def __init__(
        self, shared: SharedState, config: Config | None = None, clock: tuple[Sleep, Callable[[], float]] | None = None
    ) -> None:
        """`clock` sleeps and says what time it is."""
        self.shared = shared
        self.text = SHIPPED
        self.in_force = config or parse(SHIPPED, "lvs.toml")
        self.refuses = ""
        self.sessions = 3
        file = FakeFile(lambda: parse(self.text, "lvs.toml"))
        shared.set_tunables(dict(self.in_force.sysctl))
        super().__init__(
            file,
            lambda: self.in_force,
            shared.tunable,
            self.put,
            lambda: lambda _service, _endpoint: self.sessions,
            asyncio.Lock(),
        )
        if clock:
            self.confirmation = Confirmation(self._lock, lambda before: self.put(before, ""), *clock)

    async def put(self, wanted: Config, _: str) -> list[str]:
        """Everything is in force at once. Raises ReloadRefusedError with the words of the test, if it has some."""
        if self.refuses:
            raise ReloadRefusedError(self.refuses)
        before, self.in_force = self.in_force, wanted
        return differences(before, wanted)
