"""The routes of the admin API that describe it, as data. They say nothing of this gateway, so they need no token."""

from appliance.rest import models
from appliance.rest.accept_header import JSON
from appliance.rest.operation import UNKNOWN_NAME, Operation, Route

DOCS_ROUTES: tuple[Route, ...] = (
    Route(
        "/openapi.json",
        "this API as an OpenAPI 3.1 document",
        (
            Operation(
                "GET",
                "Answers the description of the API for programs, in any case as JSON.",
                "there is none",
                "an OpenAPI 3.1 document",
                needs_token=False,
                answer=models.OpenApi,
                media=(JSON,),
            ),
        ),
    ),
    Route(
        "/docs",
        "this API as a page for browsers",
        (
            Operation(
                "GET",
                "Answers a page on which every route can be tried. It loads nothing from other hosts.",
                "HTML, in any case",
                "there is none",
                needs_token=False,
                media=("text/html",),
            ),
        ),
    ),
    Route(
        "/docs/{name}",
        "a file of the page",
        (
            Operation(
                "GET",
                "Answers one of the files that the page loads.",
                "JavaScript or CSS, in any case",
                "there is none",
                refusals=(UNKNOWN_NAME._replace(kind="", reason="there is no such file, or swagger-ui is not installed"),),
                needs_token=False,
                media=("text/javascript", "text/css"),
            ),
        ),
    ),
)
