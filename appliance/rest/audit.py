"""The audit log: a line for each request that is to change something, with who, from where, what, before, after and outcome."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.model.token import without_tokens
from appliance.rest.caller import changes
from appliance.rest.identity import address_of, known_caller
from appliance.rest.query_check import operation_of

log = logging.getLogger("appliance.audit")

BURST = 100
"""Lines of one outcome that may be written one directly after the other."""

LINES_PER_S = 20.0
"""Lines of one outcome a second when writes keep coming. Those above are counted, and a line says how many they were."""

SUMMARY_S = 1.0
"""How long after the first write without a line of its own their number is logged."""

_LONGEST_SHOWN = 200


class Change(NamedTuple):
    """What a write was about, as its handler knows it."""

    before: Any = None
    asked: Any = None
    after: Any = None


_CHANGE = web.RequestKey("change", Change)


def note_change(request: web.Request, *, before: Any = None, asked: Any = None, after: Any = None) -> None:
    """Say what the write `request` is about: what was in force, what was asked for, what is in force now. A later call replaces
    the earlier one. Anything that JSON has may stand here; it is cut to a length fit for a line."""
    request[_CHANGE] = Change(before, asked, after)


class AuditLog:
    """Writes lines, at a bounded rate for each outcome: requests that were refused cannot hide those that were not."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lines = {True: _Pace(), False: _Pace()}

    def write(self, text: str, *, is_done: bool) -> None:
        """Log a line, or count it when there were too many; then a line with their number comes a little later."""
        pace = self._lines[is_done]
        if pace.may_write(self._now()):
            self._log(text, is_done=is_done)
            return
        pace.left_out += 1
        if pace.left_out == 1:
            asyncio.get_running_loop().call_later(SUMMARY_S, self._summarize, is_done)

    def _summarize(self, is_done: bool) -> None:
        pace = self._lines[is_done]
        number, pace.left_out = pace.left_out, 0
        self._log(
            f"and {number} more writes that were {'done' if is_done else 'refused'}, too many to show each", is_done=is_done
        )

    @staticmethod
    def _log(text: str, *, is_done: bool) -> None:
        log.log(logging.INFO if is_done else logging.WARNING, "%s", text)


class _Pace:
    """A token bucket that is told the time, and the number of lines that it did not let through."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._at = 0.0
        self.left_out = 0

    def may_write(self, now: float) -> bool:
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * LINES_PER_S)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def audit(lines: AuditLog) -> Middleware:
    """A middleware that writes the line. It stands in front of all others, so it sees every refusal, and no answer is sent before
    the line is written."""

    @web.middleware
    async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = operation_of(request)
        if asked is None or not changes(asked):
            return await handler(request)
        outcome = "ended before its answer"
        is_done = False
        try:
            response = await handler(request)
            outcome = f"{response.status} {HTTPStatus(response.status).phrase}"
            is_done = response.status < HTTPStatus.BAD_REQUEST
            return response
        except Exception:
            outcome = "an error of ours"
            raise
        finally:
            lines.write(_line(request, outcome), is_done=is_done)

    return audited


def _line(request: web.Request, outcome: str) -> str:
    change = request.get(_CHANGE, Change())
    caller = known_caller(request)
    facts = {
        "by": caller.name if caller else "nobody knows whom",
        "from": address_of(request),
        "what": f"{request.method} {request.path_qs}",
        **{name: value for name, value in change._asdict().items() if value is not None},
        "outcome": outcome,
    }
    return " ".join(f"{name}={_shown(value)}" for name, value in facts.items())


def _shown(value: Any) -> str:
    """A value as JSON on one line of ASCII: whatever a client sends, it can neither end the line nor its quotes."""
    text = without_tokens(value if isinstance(value, str) else json.dumps(value))
    return json.dumps(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…")
