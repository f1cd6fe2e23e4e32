"""The name at the end of a path such as ``/sysctl/NAME``."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from appliance.model.did_you_mean import nearest
from appliance.rest.problem import ProblemError

_LONGEST_SHOWN = 80


def known_name(request: web.Request, kind: str, known: Mapping[str, object]) -> str:
    """The name in the path of a request. `kind` says what it names: a tunable, a counter.

    Raises ProblemError (404) with the most similar known name when `known` does not have this one.
    """
    name = request.match_info["name"]
    if name in known:
        return name
    shown = name[:_LONGEST_SHOWN]
    match = nearest(shown, known)
    hint = f"; the nearest is {match}" if match else ""
    raise ProblemError(
        HTTPStatus.NOT_FOUND,
        f"there is no {kind} {shown!r}{hint}",
        kind="unknown-name",
        title=f"Unknown {kind}",
        name=shown,
        nearest=match,
    )
