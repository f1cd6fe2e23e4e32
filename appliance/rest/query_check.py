"""The check of every query string: one place for all routes, before a handler does anything."""

from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from appliance.ipc.queries import QueryError, check_fields
from appliance.rest.operation import COMMON_QUERY, Operation
from appliance.rest.problem import ProblemError
from appliance.rest.routes import ROUTES, query_names

_OPERATIONS = {(operation.method, route.path): operation for route in ROUTES for operation in route.operations}
_LONGEST_SHOWN = 80


def operation_of(request: web.Request) -> Operation | None:
    """The operation that a request asks for; None when there is no such route or method."""
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return _OPERATIONS.get((method, resource.canonical)) if resource else None


@web.middleware
async def check_query(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses a query field that the route does not have, one that is given twice, and a format that there is not.

    So a request with a mistake in its query changes nothing, whatever its route. The values of other fields are checked by the
    handlers that read them, with the functions of `ipc.queries`.
    """
    asked = operation_of(request)
    if asked is not None:
        try:
            check_fields((name for name, _ in request.query.items()), query_names(asked))  # keys alone come once each
            wanted = request.query.get(COMMON_QUERY[0].name, "text")
            if wanted not in ("text", "json"):
                raise QueryError(f"format: there is no {wanted[:_LONGEST_SHOWN]!r} (there are text, json)")
        except QueryError as error:
            raise bad_query(error) from error
    return await handler(request)


def bad_query(error: QueryError) -> ProblemError:
    """The refusal of a query: 400, with the words of the error."""
    return ProblemError(HTTPStatus.BAD_REQUEST, str(error), kind="bad-query", title="Bad query")
