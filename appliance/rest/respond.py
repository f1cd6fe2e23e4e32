"""A view as an answer of the API: as text or as JSON, whichever the client prefers."""

from http import HTTPStatus

from aiohttp import web

from appliance.rest.accept_header import JSON, TEXT, prefers_json
from appliance.views.document import Document, to_json


def respond(request: web.Request, document: Document, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """The answer that shows a whole view."""
    if wants_json(request):
        return web.Response(status=status, text=to_json(document.data), content_type=JSON)
    return web.Response(status=status, text=document.text, content_type=TEXT)


def wants_json(request: web.Request) -> bool:
    """Whether the client asks for JSON: by ``?format=``, else by the Accept header."""
    wanted = request.query.get("format")
    return wanted == "json" if wanted else prefers_json(request.headers.get("Accept", "*/*"))
