"""What every table of the configuration file is."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the file. It is immutable, refuses unknown keys, and never converts a value to another type."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
