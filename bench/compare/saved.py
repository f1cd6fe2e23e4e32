"""Results that were saved as JSON, for programs that show them."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.compare.as_json import VERSION


def checked(data: dict[str, Any]) -> dict[str, Any]:
    """The same results. Raises ValueError when they have another version than this program reads."""
    if data.get("version") != VERSION:
        raise ValueError(f"version {data.get('version')!r} of the results is not {VERSION}")
    return data


def show(arguments: Sequence[str], program: str, render: Callable[[dict[str, Any]], str]) -> int:
    """Print what `render` makes of the results in the file that the command line names; returns the exit code."""
    if len(arguments) != 1:
        print(f"usage: python -m {program} FILE.json", file=sys.stderr)
        return 2
    print(render(json.loads(Path(arguments[0]).read_text())), end="")
    return 0
