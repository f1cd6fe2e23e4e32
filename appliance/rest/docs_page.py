"""The handlers of ``/openapi.json`` and ``/docs``: the description of the API, for programs and for people.

The page needs no network: its program is swagger-ui, which a build puts beside the modules. Without it the page lists the routes.
"""

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from appliance.rest.accept_header import JSON
from appliance.rest.ext_counters import EXT_NAMES
from appliance.rest.openapi import document
from appliance.rest.operation import Route
from appliance.rest.page_files import find_file, page_headers, places_of
from appliance.rest.problem import ProblemError
from appliance.rest.ui_page import UI_NAMES
from appliance.views.document import to_json

ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
    "page.css": "text/css",
}
"""What the page loads, and the type of each."""

_HEADERS = page_headers(images="'self' data:")

_START = """\
"use strict";
window.addEventListener("load", () => SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null }));
"""

_STYLE = """\
body { font-family: sans-serif; margin: 2em; }
td { padding: 0.2em 1em 0.2em 0; vertical-align: top; }
"""

_HEAD = '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>The admin API</title>\n'
_WITH_UI = f"""\
{_HEAD}<link rel="stylesheet" href="/docs/swagger-ui.css">
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></head>
<body><div id="api"></div></body>
</html>
"""

NAMES = {
    "/sysctl/{name}": tuple(TUNABLES),
    "/host/sysctl/{name}": tuple(HOST_PARAMETERS),
    "/stats/ext/{name}": tuple(EXT_NAMES),
    "/stats/ip_vs_ext_stats/{name}": tuple(EXT_NAMES),
    "/docs/{name}": tuple(ASSETS),
    "/ui/{name}": UI_NAMES,
}
"""The values of the name at the end of a path."""


class DocsHandlers:
    """The handlers. The document is made once, when somebody asks for it."""

    def __init__(self, routes: Sequence[Route], places: tuple[Path, ...] = places_of("swagger-ui")) -> None:
        self._routes = routes
        self._places = places

    @cached_property
    def _document(self) -> str:
        return to_json(document(self._routes, NAMES))

    async def openapi(self, _: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.Response(text=self._document, content_type=JSON)

    async def page(self, _: web.Request) -> web.Response:
        """Answer the page."""
        has_ui = all(find_file(self._places, name) for name in ASSETS if name.startswith("swagger-ui"))
        text = _WITH_UI if has_ui else _list(self._routes)
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def asset(self, request: web.Request) -> web.Response:
        """Answer one file of the page. Raises ProblemError: 404."""
        name = request.match_info["name"]
        own = {"start.js": _START, "page.css": _STYLE}.get(name)
        file = find_file(self._places, name) if name in ASSETS and own is None else None
        if own is None and file is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "there is no such file; `make swagger-ui` gets those of swagger-ui")
        answer: dict[str, Any] = {"text": own} if file is None else {"body": file.read_bytes(), "charset": "utf-8"}
        return web.Response(content_type=ASSETS[name], headers=_HEADERS, **answer)


def _list(routes: Sequence[Route]) -> str:
    """The page without swagger-ui."""
    rows = "".join(
        f"<tr><td><code>{html.escape(' '.join(route.methods))}</code></td><td><code>{html.escape(route.path)}</code></td>"
        f"<td>{html.escape(route.summary)}</td></tr>\n"
        for route in routes
    )
    return (
        f'{_HEAD}<link rel="stylesheet" href="/docs/page.css"></head>\n<body><h1>The admin API</h1>\n'
        "<p>A page on which every route can be tried needs swagger-ui, which is not installed: run <code>make swagger-ui</code> "
        'in the source tree, and <code>deploy/install.sh</code> again. The description for programs is <a href="/openapi.json">'
        f"/openapi.json</a>.</p>\n<table>\n{rows}</table></body>\n</html>\n"
    )
