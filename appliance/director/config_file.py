"""The configuration file of a run, and what the command line says besides."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.config.loading import Config, load, parse, read_text
from appliance.edge.config_file import replace


class ConfigSource(Protocol):
    """Where a run has its configuration from."""

    path: Path

    def read(self) -> Config:
        """Read it again. It may block. Raises ConfigError with every problem."""

    def read_text(self) -> str:
        """Its text. It may block. Raises ConfigError."""

    def replace(self, before: str, after: str) -> None:
        """Write another text into it, as long as it has the text `before`. It may block. Raises EdgeError, and leaves it."""

    def parse(self, text: str, source: str) -> Config:
        """The configuration that another text is, on this command line. Raises ConfigError with every problem."""


class ConfigFile:
    """A file, as a ConfigSource."""

    def __init__(self, path: Path, override: Callable[[Config], Config] = lambda config: config) -> None:
        """`override` puts in what the command line says; it may raise ConfigError."""
        self.path = path
        self._override = override

    def read(self) -> Config:
        """Read and check the file."""
        return self._override(load(self.path))

    def read_text(self) -> str:
        """Its text, without a byte order mark."""
        return read_text(self.path)

    def replace(self, before: str, after: str) -> None:
        """Write it in one step."""
        replace(self.path, before, after)

    def parse(self, text: str, source: str) -> Config:
        """Check another text."""
        return self._override(parse(text, source))
