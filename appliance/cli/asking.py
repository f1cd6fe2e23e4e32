"""How a command asks the API and prints the answer."""

import argparse
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer


def ask(
    options: argparse.Namespace, method: str, path: str, *fields: str, body: bytes | None = None, **more: str
) -> "AbstractContextManager[Answer]":
    """Send a request. Its query has those of `fields` that were given on the command line, and `more`."""
    from appliance.cli.api_client import Question, asked

    given = {field: value for field in fields if (value := getattr(options, field)) is not None}
    return asked(options.api, Question(method, path, given | more, body), as_json=options.json)


def write(text: bytes) -> None:
    """Write all of `text`. Raises OSError if that fails, also with PYTHONUNBUFFERED, where one write() may take a part only."""
    left = memoryview(text)
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()


def copy(answer: "Answer") -> None:
    """Write the whole answer, piece by piece as it comes. Raises what `pieces` and `write` do."""
    for piece in answer.pieces():
        write(piece)
