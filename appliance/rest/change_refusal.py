"""Refused changes of the configuration as answers, and the bodies and versions of requests that ask for one."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web

from appliance.model import edit
from appliance.model.edit import ANY_VERSION, NOT_THERE, ChangeRefusedError, version_of
from appliance.rest.problem import ProblemError
from appliance.rest.strict_json import parse_json
from appliance.rest.sysctl import BODY_S

_STATUS = {
    edit.BAD_CONFIG: HTTPStatus.UNPROCESSABLE_ENTITY,
    edit.COMMAND_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    edit.UNKNOWN: HTTPStatus.NOT_FOUND,
    edit.CHANGED_MEANWHILE: HTTPStatus.PRECONDITION_FAILED,
}
"""Others are a conflict (409) with what there is."""

_TITLES = {
    edit.BAD_CONFIG: "The configuration has mistakes",
    edit.COMMAND_REFUSED: "Command refused",
    edit.UNKNOWN: "Unknown name",
    edit.CHANGED_MEANWHILE: "Changed meanwhile",
    edit.UNCONFIRMED: "A change waits for its confirmation",
    edit.NOTHING_TO_CONFIRM: "Nothing to confirm",
    edit.NOT_WHILE_RUNNING: "Not while traffic flows",
    edit.ALREADY_THERE: "Already there",
    edit.FILE_CHANGED: "The file was changed",
    edit.NOT_WRITABLE: "The file cannot be written",
}

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@contextmanager
def refusals_answered() -> Iterator[None]:
    """Turns a refused change into a ProblemError."""
    try:
        yield
    except ChangeRefusedError as error:
        status = _STATUS.get(error.kind, HTTPStatus.CONFLICT)
        raise ProblemError(
            status, f"{error}; nothing has changed", kind=error.kind, title=_TITLES[error.kind], reasons=list(error.reasons)
        ) from error


def etag(value: Any) -> dict[str, str]:
    """The header that names the version of a value."""
    return {"ETag": f'"{version_of(value)}"'}


def known_versions(request: web.Request) -> tuple[str, ...]:
    """The versions in If-Match; empty without it. Weak ones match nothing. NOT_THERE for ``If-None-Match: *``. Raises
    ProblemError (400) for what is no ETag, and for what no write needs: both headers, or ETags in If-None-Match."""
    text = ",".join(request.headers.getall("If-Match", [])).strip()
    if "If-None-Match" in request.headers:
        if text or request.headers.getall("If-None-Match") != [ANY_VERSION]:
            raise ProblemError(HTTPStatus.BAD_REQUEST, "If-None-Match is not * alone, or there is If-Match as well")
        return (NOT_THERE,)
    if not text or text == ANY_VERSION:
        return (ANY_VERSION,) if text else ()
    tags = [tag.strip() for tag in text.split(",")]
    if not all(_ETAG.fullmatch(tag) for tag in tags):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "If-Match is neither * nor a list of ETags, each in double quotes")
    return tuple(tag.strip('"') for tag in tags)


async def read_text(request: web.Request, most_bytes: int) -> str:
    """The body of a request as text. Raises ProblemError: 408 when it is not complete in time, 413 when it is longer than
    `most_bytes`, 400 when it cannot be read or is not UTF-8."""
    try:
        async with asyncio.timeout(BODY_S):
            body = await _read(request, most_bytes)
        return body.decode("utf-8-sig")
    except TimeoutError as error:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, f"the body was not complete within {BODY_S:.0f} s") from error
    except UnicodeDecodeError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from error
    except web.RequestPayloadError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error


async def _read(request: web.Request, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {most_bytes} bytes")
    return bytes(body)


async def read_json(request: web.Request, most_bytes: int) -> Any:
    """The body of a request as JSON. Raises ProblemError as `read_text`, and 400 for what is not JSON."""
    text = await read_text(request, most_bytes)
    try:
        value = parse_json(text)
        json.dumps(value, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except UnicodeEncodeError:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body has half a surrogate pair, which is no character") from None
    except ValueError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error}") from error
    return value
