"""The handlers of ``/ui/``: the page that shows the gateway live, and its files.

The page is made of files that lie beside this one, in `ui`, and of uPlot, which draws its charts and which a build puts beside
the modules. Without uPlot the page has all but these charts.
"""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from appliance.model.verdicts import VERDICTS
from appliance.rest.page_files import find_file, page_headers, places_of
from appliance.rest.problem import ProblemError
from appliance.views.document import to_json

FOLDER = Path(__file__).parent / "ui"

_JAVASCRIPT, _CSS = "text/javascript", "text/css"
_CODE = "api app attacks chart drops dom events format header keyed rates services sessions spark stream theme token tunables"

OWN: Mapping[str, str] = {
    **{f"{name}.mjs": _JAVASCRIPT for name in _CODE.split()},
    "style.css": _CSS,
    "icon.svg": "image/svg+xml",
}
"""The files of the page that lie in FOLDER, and the type of each."""

UPLOT: Mapping[str, str] = {"uPlot.esm.js": _JAVASCRIPT, "uPlot.min.css": _CSS}

REASONS = "reasons.mjs"
"""What each reason of a drop means: a module with an object."""

UI_NAMES = (*OWN, *UPLOT, REASONS)

# A value that a stranger chose becomes text on the page and never markup: the browser itself refuses a script that tries.
_HEADERS = page_headers(images="'self'", more="; require-trusted-types-for 'script'; trusted-types 'none'")


class UiHandlers:
    """The handlers."""

    def __init__(self, uplot: tuple[Path, ...] = places_of("uplot")) -> None:
        self._uplot = uplot

    async def page(self, _: web.Request) -> web.Response:
        """Answer the page."""
        return web.Response(text=_own("index.html"), content_type="text/html", headers=_HEADERS)

    async def to_page(self, _: web.Request) -> web.Response:
        """Send a browser on to the page: names of its files begin behind the slash."""
        return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": "/ui/"})

    async def asset(self, request: web.Request) -> web.Response:
        """Answer one file of the page. Raises ProblemError: 404."""
        name = request.match_info["name"]
        if name == REASONS:
            return web.Response(text=_reasons(), content_type=_JAVASCRIPT, headers=_HEADERS)
        if name in OWN:
            return web.Response(text=_own(name), content_type=OWN[name], headers=_HEADERS)
        file = find_file(self._uplot, name) if name in UPLOT else None
        if file is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "there is no such file; `make ui` gets those of uPlot")
        return web.Response(body=file.read_bytes(), content_type=UPLOT[name], charset="utf-8", headers=_HEADERS)


@cache
def _own(name: str) -> str:
    """A file of FOLDER: read once, since it does not change while the appliance runs."""
    return (FOLDER / name).read_text()


@cache
def _reasons() -> str:
    reasons = {verdict.name: {"summary": verdict.summary, "remedy": verdict.remedy} for verdict in VERDICTS}
    return f"export default {to_json(reasons)}"
