"""What is said of a route of the API: its methods, what each answers, takes and refuses. Pure data, for the reference too."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One field of the query string."""

    name: str
    allowed: str
    """The values that are accepted."""
    default: str
    """What holds when the field is left out."""
    meaning: str
    schema: Mapping[str, Any] = MappingProxyType({"type": "string"})
    """The values as JSON Schema, as far as it can say them."""
    is_required: bool = False
    """Whether a request without it is refused; `default` says so in words."""


class Refusal(NamedTuple):
    """One reason to answer with a problem document (RFC 9457)."""

    status: HTTPStatus
    kind: str
    """End of the document's `type`, after ``urn:problem-type:appliance:``; empty when the type is ``about:blank``."""
    reason: str
    """When this is the answer."""

    @property
    def type(self) -> str:
        """The `type` member of the document."""
        return f"urn:problem-type:appliance:{self.kind}" if self.kind else "about:blank"


class Operation(NamedTuple):
    """One method of one route."""

    method: str
    answers: str
    """What it does and what the answer is."""
    text: str
    """The form of the answer as text."""
    json: str
    """The form of the answer as JSON."""
    query: tuple[Parameter, ...] = ()
    """Its own fields; COMMON_QUERY comes on top."""
    body: str = ""
    """What the body of the request has to be; empty when it has none."""
    refusals: tuple[Refusal, ...] = ()
    """Its own; COMMON_REFUSALS come on top."""
    is_costly: bool = False
    """Whether workers or the kernel have to be asked for the answer."""
    needs_token: bool = True
    """Whether a token is needed where listeners need one; False for what says nothing of this gateway."""
    answer: Any = None
    """The type of the answer as JSON, for pydantic (`rest.models`)."""
    body_model: Any = None
    """The type of the body as JSON."""
    body_media: tuple[str, ...] = ("application/json", "text/plain")
    """The types that the body can have."""
    body_is_optional: bool = False
    also_answers: tuple[HTTPStatus, ...] = ()
    """Other statuses than 200 with an answer of the same form."""
    media: tuple[str, ...] = ("application/json", "text/plain")
    """The types that the answer can have."""
    may_wait: bool = False
    """Whether the answer may wait for something to happen, so that somebody who asks holds a place of a few."""


class Route(NamedTuple):
    """One path. A GET is answered to HEAD too, without the body."""

    path: str
    summary: str
    """A few words for the list of routes."""
    operations: tuple[Operation, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of the operations, without HEAD."""
        return tuple(operation.method for operation in self.operations)


FORMAT = Parameter(
    "format",
    "text or json",
    "the form that the Accept header prefers; text when both are equal or there is none",
    "the form of the answer",
    {"type": "string", "enum": ["text", "json"]},
)

COMMON_QUERY = (FORMAT,)
"""The fields that every operation takes."""

BAD_QUERY = Refusal(
    HTTPStatus.BAD_REQUEST,
    "bad-query",
    "a query field is unknown, is empty, is given more than once, or has a value that is not allowed",
)

COMMON_REFUSALS = (
    BAD_QUERY,
    Refusal(
        HTTPStatus.MISDIRECTED_REQUEST,
        "wrong-host",
        "Host is not the address of the listener, nor `localhost` on a loopback address, nor the name of the machine on another, "
        "nor with TLS a name in the certificate",
    ),
    Refusal(
        HTTPStatus.FORBIDDEN,
        "other-site",
        "Origin or Sec-Fetch-Site says that a web page of another site asks for a change, or for sessions",
    ),
    Refusal(
        HTTPStatus.FORBIDDEN,
        "read-only",
        "a change was asked for with a token that may only read; or without a token, by a local user who is neither root nor the "
        "service's user nor in its group",
    ),
    Refusal(HTTPStatus.UNAUTHORIZED, "no-token", "the listener is beyond loopback, and the request has no token"),
    Refusal(
        HTTPStatus.UNAUTHORIZED,
        "wrong-token",
        "Authorization is not `Bearer` and a token of this appliance; the answer is delayed",
    ),
    Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "wrong-token",
        "the same, while many answers are delayed already; the answer has a `Retry-After`, and the connection is closed",
    ),
    Refusal(HTTPStatus.NOT_FOUND, "", "there is no such path; the answer names the nearest route"),
    Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "", "the path does not take this method; the answer names those that it takes"),
    Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "busy",
        "as many answers that ask workers or the kernel are being read as there may be, or as many requests wait for events; the "
        "answer has a `Retry-After`",
    ),
    Refusal(HTTPStatus.REQUEST_TIMEOUT, "", "a body was not complete in time"),
    Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "",
        "the listener has as many connections as it may have; the answer has a `Retry-After`, and the connection is closed",
    ),
)
"""The refusals of every operation and of all other requests."""

UNKNOWN_NAME = Refusal(HTTPStatus.NOT_FOUND, "unknown-name", "there is no such name; the answer has the nearest one")
SHARD_DOWN = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "shard-down", "the worker of a shard is down, so the answer would not be complete"
)
