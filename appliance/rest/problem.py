"""Refusals of the API, as text or as problem documents (RFC 9457): errors that handlers raise, and those that aiohttp raises."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.model.did_you_mean import nearest
from appliance.rest.respond import wants_json

PROBLEM = "application/problem+json"

_LONGEST_PATH_SHOWN = 80


class ProblemError(Exception):
    """A request that is refused. `members` are added to the document's type, title, status and detail.

    `kind` ends the document's type, so that clients can tell problems apart; without it the type is ``about:blank``.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        kind: str = "",
        title: str = "",
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.document = {
            "type": f"urn:problem-type:appliance:{kind}" if kind else "about:blank",
            "title": title or status.phrase,
            "status": status.value,
            "detail": detail,
        } | members

    def response(self, *, as_document: bool) -> web.Response:
        """The refusal as a document, or as one line of text. The document is indented, because people read it too."""
        if not as_document:
            return web.Response(status=self.status, text=f"{self}\n", headers=self.headers)
        text = f"{json.dumps(self.document, indent=2)}\n"
        return web.Response(status=self.status, text=text, content_type=PROBLEM, headers=self.headers)


def wants_document(request: web.Request) -> bool:
    """Whether a refusal is answered as a document: when the client asks for JSON, or says that it reads problem documents."""
    return wants_json(request) or PROBLEM in request.headers.get("Accept", "").lower()


def problem_middleware(paths: Sequence[str]) -> Middleware:
    """A middleware that answers errors as refusals. The answer to an unknown path names the nearest of `paths`.

    Exceptions other than HTTP errors pass through: aiohttp logs them and answers 500, or breaks off an answer that has begun.
    """

    @web.middleware
    async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ProblemError as problem:
            return problem.response(as_document=wants_document(request))
        except web.HTTPException as error:
            response = _problem_of(request, error, paths).response(as_document=wants_document(request))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response

    return answer_problems


def _problem_of(request: web.Request, error: web.HTTPException, paths: Sequence[str]) -> ProblemError:
    path = request.path[:_LONGEST_PATH_SHOWN]
    if isinstance(error, web.HTTPNotFound):
        match = nearest(path, paths)
        hint = f"the nearest is {match}" if match else "GET / lists all routes"
        return ProblemError(HTTPStatus.NOT_FOUND, f"there is no {path}; {hint}", nearest=match)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        detail = f"{path} does not take {error.method}; it takes {', '.join(allowed)}"
        return ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, detail, allowed=allowed)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {request.client_max_size} bytes")
    return ProblemError(HTTPStatus(error.status), error.text or error.reason)
