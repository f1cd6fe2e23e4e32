"""A view as an answer of the API: text or JSON, whichever the client would rather have."""

from http import HTTPStatus

from aiohttp import web

from appliance.rest.accept_header import JSON, TEXT, prefers_json
from appliance.views.document import Document, to_json


def respond(request: web.Request, document: Document, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """The whole of a view."""
    if wants_json(request):
        return web.Response(status=status, text=to_json(document.data), content_type=JSON)
    return web.Response(status=status, text=document.text, content_type=TEXT)


def wants_json(request: web.Request) -> bool:
    """By ``?format=``, else by the Accept header."""
    wanted = request.query.get("format")
    return wanted == "json" if wanted else prefers_json(request.headers.get("Accept", "*/*"))
