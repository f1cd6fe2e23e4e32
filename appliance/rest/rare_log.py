"""Log lines that a stranger can cause: short, at most one of a kind in ten seconds, with the number of those left out."""

import logging
import time
from collections.abc import Callable

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from appliance.model.token import without_tokens

log = logging.getLogger("appliance.api")

INTERVAL_S = 10.0
_LONGEST_SHOWN = 120


class RareLog:
    """One kind of line for each `kind`; a line that comes too soon after the last one of its kind is only counted."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, kind: str, text: str, error: BaseException | None = None) -> None:
        """Log `kind` and `text` on one line, with the trace of `error` when there is one."""
        now = self._now()
        if now < self._next_at.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._next_at[kind] = now + INTERVAL_S
        left_out = self._left_out.pop(kind, 0)
        more = f" (and {left_out} more since the last such line)" if left_out else ""
        log.warning("%s: %s%s", kind, _one_line(text), more, exc_info=error)


def _one_line(text: str) -> str:
    shown = without_tokens(" ".join(text.split()))
    shown = shown if shown.isprintable() else ascii(shown)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 1] + "…"


class ServerLog:
    """The logger that aiohttp's server gets. What it says of a malformed request is one line without a trace."""

    def __init__(self, lines: RareLog) -> None:
        self._lines = lines

    def exception(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        """Log an error while a request was read or handled: with its trace when it is an error of ours."""
        what = message % arguments if arguments else message
        if isinstance(exc_info, HttpProcessingError):
            self._lines.say("malformed request", f"{what}: {exc_info.message}")
        elif isinstance(exc_info, RequestPayloadError):  # found while what is left of the body is read, behind the answer
            self._lines.say("malformed request", f"{what}: {exc_info}")
        else:
            self._lines.say("an error of ours; please report this", f"{what}: {exc_info!r}", exc_info)

    error = warning = exception

    def debug(self, *_: object, **__: object) -> None:
        """Nothing: a client that went away is no news."""
