"""The routes of the admin API that change services, real servers and pools, as data."""

from http import HTTPStatus

from appliance.rest import config_models as models
from appliance.rest.accept_header import JSON
from appliance.rest.config_routes import BAD_CONFIG, CHANGED_MEANWHILE, COMMAND, NEEDS_RESTART, UNCONFIRMED
from appliance.rest.operation import UNKNOWN_NAME, Operation, Refusal, Route

ONE = ("/services/{name}", "/services/{name}/real_servers/{endpoint}", "/pools/{name}")
"""The paths of single services, real servers and pools."""

LONGEST_TABLE_BYTES = 1 << 20

_TOO_LONG = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "", f"the body is longer than {LONGEST_TABLE_BYTES} bytes")
_BAD_BODY = Refusal(
    HTTPStatus.BAD_REQUEST,
    "",
    "the body is not valid JSON, or its compression is broken; or If-Match is no ETag, or If-None-Match not *",
)
_ALREADY_THERE = Refusal(HTTPStatus.CONFLICT, "already-there", "there is one of this name already")
_OF_CHANGE = (BAD_CONFIG, NEEDS_RESTART, UNCONFIRMED)
_OF_BODY = (_BAD_BODY, _TOO_LONG, *_OF_CHANGE, COMMAND)

_KEYS = "the keys that are given, as in the configuration file; the answer has an ETag"
_LINES = "one line for each key that is given"
_LAST = "It lasts until the appliance stops, or until it is saved."
_TABLE = f"JSON: an object with keys of the configuration file; at most {LONGEST_TABLE_BYTES} bytes"
_MERGE = f"{_TABLE}. Other keys stay, and a key that is null goes back to its default (RFC 7396)"


def _read(what: str, model: object) -> Operation:
    return Operation("GET", f"Answers {what}.", _LINES, _KEYS, refusals=(UNKNOWN_NAME,), answer=model)


def _list(what: str, text: str, model: object) -> Operation:
    return Operation("GET", f"Answers {what}.", text, f"a list: {_KEYS.partition(';')[0]}", answer=model)


def _replace(what: str, model: object, body_model: object, *more: Refusal) -> Operation:
    return Operation(
        "PUT",
        f"Puts {what} in the place of the one there is, or adds it. {_LAST} Answers it.",
        _LINES,
        _KEYS,
        body=_TABLE,
        refusals=(*_OF_BODY, CHANGED_MEANWHILE, *more),
        is_costly=True,
        answer=model,
        body_model=body_model,
        body_media=(JSON,),
    )


def _merge(what: str, model: object) -> Operation:
    return Operation(
        "PATCH",
        f"Changes keys of {what}. {_LAST} Answers it.",
        _LINES,
        _KEYS,
        body=_MERGE,
        refusals=(*_OF_BODY, CHANGED_MEANWHILE, UNKNOWN_NAME),
        is_costly=True,
        answer=model,
        body_model=models.Keys,
        body_media=(JSON,),
    )


def _remove(what: str) -> Operation:
    return Operation(
        "DELETE",
        f"Removes {what}. {_LAST}",
        "one line for each change",
        "`changes`: a list of lines; `confirm_within_s`: 0",
        refusals=(*_OF_CHANGE, CHANGED_MEANWHILE, UNKNOWN_NAME, _BAD_ETAG),
        is_costly=True,
        answer=models.Applied,
    )


def _add(what: str, model: object, *more: Refusal) -> Operation:
    return Operation(
        "POST",
        f"Adds {what}. {_LAST} Answers it.",
        _LINES,
        _KEYS,
        body=_TABLE,
        refusals=(*_OF_BODY, _ALREADY_THERE, *more),
        is_costly=True,
        answer=model,
        body_model=model,
        body_media=(JSON,),
    )


_BAD_ETAG = Refusal(HTTPStatus.BAD_REQUEST, "", "If-Match is no ETag, or If-None-Match not *")

SERVICE_ROUTES: tuple[Route, ...] = (
    Route(
        "/services",
        "all services as they are configured; POST adds one",
        (
            _list(
                "all services as they are configured",
                "one line per service: name, VIP and port, protocol, scheduler, pool, number of real servers",
                list[models.ServiceTable],
            ),
            _add("a service", models.ServiceTable),
        ),
    ),
    Route(
        "/services/{name}",
        "one service; PUT, PATCH and DELETE change it",
        (
            _read("one service as it is configured", models.ServiceTable),
            _replace("a service", models.ServiceTable, models.ServiceBody),
            _merge("a service", models.ServiceTable),
            _remove("a service"),
        ),
    ),
    Route(
        "/services/{name}/real_servers",
        "the real servers of a service; POST adds one",
        (
            _list(
                "the real servers of a service",
                "one line per real server: address and port, weight, and whether it is a backup",
                list[models.RealServerTable],
            )._replace(refusals=(UNKNOWN_NAME,)),
            _add("a real server", models.RealServerTable, UNKNOWN_NAME),
        ),
    ),
    Route(
        "/services/{name}/real_servers/{endpoint}",
        "one real server, ADDRESS:PORT; PUT, PATCH and DELETE change it",
        (
            _read("one real server as it is configured", models.RealServerTable),
            _replace("a real server", models.RealServerTable, models.Keys, UNKNOWN_NAME),
            _merge("a real server", models.RealServerTable),
            _remove("a real server"),
        ),
    ),
    Route(
        "/pools",
        "the pools of local addresses",
        (
            Operation(
                "GET",
                "Answers all pools of local addresses.",
                "one line per pool: name, addresses",
                "an object: name -> `addresses`, a list",
                answer=dict[str, models.Pool],
            ),
        ),
    ),
    Route(
        "/pools/{name}",
        "one pool of local addresses; PUT and DELETE change it",
        (
            _read("one pool of local addresses", models.Pool)._replace(
                text="one line: the addresses", json="`addresses`, a list"
            ),
            _replace("a pool", models.Pool, models.Pool)._replace(
                text="one line: the addresses",
                json="`addresses`, a list",
                body=f"JSON: an object with `addresses`, a list of them; at most {LONGEST_TABLE_BYTES} bytes",
                refusals=(_BAD_BODY, _TOO_LONG, *_OF_CHANGE, CHANGED_MEANWHILE),
            ),
            _remove("a pool"),
        ),
    ),
)
