"""The list of the routes of the admin API. Pure."""

from collections.abc import Sequence

from appliance.views.document import Document, align


def index(routes: Sequence[tuple[str, str, str]]) -> Document:
    """The path, the methods and the summary of each route."""
    head = ("path", "methods", "summary")
    return Document(align("<<<", (head, *routes)), [dict(zip(head, route, strict=True)) for route in routes])
