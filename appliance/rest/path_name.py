"""The name at the end of a path such as ``/sysctl/NAME``."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from aiohttp import web

from appliance.model.did_you_mean import nearest
from appliance.rest.problem import ProblemError

_LONGEST_SHOWN = 80


def known_name(request: web.Request, kind: str, known: Mapping[str, object]) -> str:
    """The name in the path of a request. `kind` says what it names: a counter.

    Raises ProblemError (404) with the most similar known name when `known` does not have this one.
    """
    name = request.match_info["name"]
    if name in known:
        return name
    raise unknown_name(name, kind, known)


def unknown_name(name: str, kind: str, known: Iterable[str], elsewhere: str = "") -> ProblemError:
    """The refusal (404) of a name: with the most similar one of `known`, or with `elsewhere`, which says where it lives."""
    shown = name[:_LONGEST_SHOWN]
    names = tuple(known)
    match = None if elsewhere else nearest(shown, names) or nearest(shown.rpartition("/")[2].rpartition(".")[2], names)
    hint = f"; {elsewhere}" if elsewhere else f"; the nearest is {match}" if match else ""
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        f"there is no {kind} {shown!r}{hint}",
        kind="unknown-name",
        title=f"Unknown {kind}",
        name=shown,
        nearest=match,
    )
