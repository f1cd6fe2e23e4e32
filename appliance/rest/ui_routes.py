"""The routes of the page that shows the gateway live, and of the samples that it shows, as data.

The files of the page say nothing of this gateway, so they need no token. The samples do.
"""

from appliance.rest import ui_models
from appliance.rest.operation import BAD_QUERY, UNKNOWN_NAME, Operation, Parameter, Route
from appliance.views.samples import REAL_SERVERS_MAX, SERVICES_MAX

MATCH_PATTERN = "[A-Za-z0-9_.-]{1,80}"
MATCH_RULE = 'a text of 1..80 letters, digits, "_", "." and "-", of which names are made'
"""What `match` may be: services have no other characters in their names."""

OFFSET_MAX = 1_000_000

VIEWERS = 16
"""Streams of samples at a time of those who may write, and as many of those who may only read."""


UI_ROUTES: tuple[Route, ...] = (
    Route(
        "/ui/",
        "the gateway as a page for browsers",
        (
            Operation(
                "GET",
                "Answers a page that shows services, sessions, drops, attacks and tunables live. It loads nothing from other "
                "hosts.",
                "HTML, in any case",
                "there is none",
                needs_token=False,
                media=("text/html",),
            ),
        ),
    ),
    Route(
        "/ui/{name}",
        "a file of the page",
        (
            Operation(
                "GET",
                "Answers one of the files that the page loads.",
                "JavaScript, CSS or SVG, in any case",
                "JavaScript, CSS or SVG, in any case",
                refusals=(UNKNOWN_NAME._replace(kind="", reason="there is no such file, or uPlot is not installed"),),
                needs_token=False,
                media=("text/javascript", "text/css", "image/svg+xml"),
            ),
        ),
    ),
    Route(
        "/samples",
        "the counters of this moment, or of every second as a stream; match, offset",
        (
            Operation(
                "GET",
                "Answers the counters of the gateway, and of a window of its services: once, or, with `Accept: "
                "text/event-stream`, every second as server-sent events `gateway` and `services`. All who watch get the same "
                f"samples. A window has up to {SERVICES_MAX} services, and up to {REAL_SERVERS_MAX} real servers of all of them "
                "together. A stream ends after ten minutes, and its reader asks again.",
                "the figures of the gateway, then one line for each real server of the window",
                "`gateway` and `services`, the data of the two events",
                query=(
                    Parameter(
                        "match",
                        MATCH_RULE,
                        "all services",
                        "only services with this in their names; case does not matter",
                        {"type": "string", "pattern": f"^{MATCH_PATTERN}$"},
                    ),
                    Parameter(
                        "offset",
                        f"0..{OFFSET_MAX}",
                        "0",
                        "how many of these services stand before the window",
                        {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX},
                    ),
                ),
                refusals=(BAD_QUERY,),
                answer=ui_models.Sample,
                may_wait=True,
            ),
        ),
    ),
    Route(
        "/ui",
        "the way to `/ui/`",
        (
            Operation(
                "GET",
                "Sends browsers on to `/ui/`, with status 308.",
                "that of `/ui/`, in any case",
                "there is none",
                needs_token=False,
                media=("text/html",),
            ),
        ),
    ),
)
