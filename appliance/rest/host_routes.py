"""The routes of the admin API that are about the host's kernel, as data."""

from http import HTTPStatus

from appliance.rest import watch_models
from appliance.rest.operation import UNKNOWN_NAME, Operation, Refusal, Route

_ROW = (
    "`value` (in force: a number; a list, when there are several; for a parameter with a value for each interface an object with "
    "those at all and at the interfaces of the gateway; null when it is absent), `recommended` and `default` (of the kernel), "
    "both null when there is none, `unit`, `state` (writable, read-only or absent), `reason` (why it is not writable), `sysctl` "
    "(its full name), `ranges` (a list of objects with `field`, `min` and `max`), `meaning`, `mistake` (what people get wrong), "
    "`here` (what it has to do with the gateway) and `tunables` (those that do the same for sessions)"
)
_NAME = "NAME may be a full name as well, such as `net.ipv4.tcp_fin_timeout`, or that of one value, such as `conf.all.rp_filter`."

HOST_ROUTES: tuple[Route, ...] = (
    Route(
        "/host/sysctl",
        "parameters of the host's kernel: value, recommended value, range, meaning",
        (
            Operation(
                "GET",
                "Answers the parameters of the kernel that concern TCP and a gateway, as they are in the network namespace of "
                "the appliance.",
                "one line per parameter: name, value, recommended value, range, unit, meaning",
                f"an object: name -> {_ROW}",
                is_costly=True,
                answer=dict[str, watch_models.HostParameter],
            ),
        ),
    ),
    Route(
        "/host/sysctl/{name}",
        "one parameter of the host's kernel; PUT changes its value",
        (
            Operation(
                "GET",
                f"Answers one parameter. {_NAME}",
                "the value in force; one line for `all` and for each interface when it has a value for each",
                f"`name`, {_ROW}",
                refusals=(UNKNOWN_NAME,),
                is_costly=True,
                answer=watch_models.NamedHostParameter,
            ),
            Operation(
                "PUT",
                "Puts a value in force until a reload changes it or the appliance stops, which puts the old one back. A "
                f"parameter with a value for each interface is written at those of the gateway. Answers the parameter. {_NAME}",
                "as for GET",
                f"`name`, {_ROW}",
                body="the value: decimal numbers with blanks between them; or JSON: an integer, a list of integers, or an object "
                "whose member `value` is one of these",
                refusals=(
                    Refusal(HTTPStatus.BAD_REQUEST, "", "the body is not valid JSON, or its compression is broken"),
                    UNKNOWN_NAME,
                    Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "", "the body is too long"),
                    Refusal(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        "value-refused",
                        "a number is out of range or less than the one before it, their count is wrong, the gateway would not "
                        "work with the value, the kernel refuses it, or the parameter cannot be written here; the value in force "
                        "stays, and the answer has it with the ranges and the `field` that is wrong",
                    ),
                ),
                is_costly=True,
                answer=watch_models.NamedHostParameter,
                body_model=watch_models.HostValueBody,
            ),
        ),
    ),
)
