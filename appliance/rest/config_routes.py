"""The routes of the admin API that are about the whole configuration, as data."""

from http import HTTPStatus

from appliance.rest import config_models as models
from appliance.rest.accept_header import TEXT
from appliance.rest.operation import BAD_QUERY, Operation, Parameter, Refusal, Route

LONGEST_CONFIG_BYTES = 8 << 20
"""As long as the file may be."""

LONGEST_CONFIRM_S = 86_400

_TEXT = (
    "the whole configuration as TOML, with the keys of the configuration file; an empty body stands for the file itself. At most "
    f"{LONGEST_CONFIG_BYTES} bytes"
)
_CHANGES = "one line for each change"

BAD_CONFIG = Refusal(
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad-config",
    "the configuration has mistakes; the answer has them in `reasons`, with `key`, `line` and `message`",
)
COMMAND = Refusal(
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "command-refused",
    "a health check runs a command, or the session log goes to a file, that neither the file nor the configuration in force has: "
    "those are chosen in the file",
)
_TOO_LONG = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "", "the body is too long")
_NOT_TEXT = Refusal(HTTPStatus.BAD_REQUEST, "", "the body is not UTF-8, or its compression is broken")
NEEDS_RESTART = Refusal(
    HTTPStatus.CONFLICT,
    "needs-restart",
    "it cannot be put in force while traffic flows, or the kernel refuses it; the answer has `reasons`",
)
UNCONFIRMED = Refusal(HTTPStatus.CONFLICT, "unconfirmed", "another change waits for its confirmation")
CHANGED_MEANWHILE = Refusal(
    HTTPStatus.PRECONDITION_FAILED, "changed-meanwhile", "If-Match or If-None-Match names another state than the one there is"
)

CONFIG_ROUTES: tuple[Route, ...] = (
    Route(
        "/config",
        "the configuration in force, and where the file differs",
        (
            Operation(
                "GET",
                "Answers the configuration in force. Its ETag is for the If-Match of POST /config/apply.",
                "a line for each difference between the file and what is in force; the last line says how many there are",
                "`file` (its path), `differences` (a list of lines: file -> in force), `file_problem` (why the file cannot be "
                "used; else empty), `unconfirmed_s` (seconds until the last change is taken back, or null) and `config`: the "
                "tables of the configuration, with the keys that are given",
                is_costly=True,
                answer=models.ConfigState,
            ),
        ),
    ),
    Route(
        "/config/plan",
        "POST: what a configuration would change",
        (
            Operation(
                "POST",
                "Says what a configuration would change, and what becomes of sessions. Files of access lists are read. Nothing "
                "changes.",
                "one line for each change, or for each reason why it needs a restart; then what becomes of sessions",
                "`changes`: a list of objects with `change`, `sessions` (kept, waiting, ended, or empty) and "
                "`number` (of sessions that it concerns, now); and `needs_restart`: a list of reasons, or empty",
                body=_TEXT,
                refusals=(_NOT_TEXT, _TOO_LONG, BAD_CONFIG, COMMAND),
                is_costly=True,
                answer=models.ChangePlan,
                body_model=models.ConfigText,
                body_media=(TEXT,),
                body_is_optional=True,
            ),
        ),
    ),
    Route(
        "/config/apply",
        "POST: put a configuration in force; confirm_within_s",
        (
            Operation(
                "POST",
                "Puts a whole configuration in force, all of it or nothing, as a reload does. It is not written to the file.",
                _CHANGES,
                "`changes`: a list of lines; `confirm_within_s`: after so many seconds they are taken back, or 0",
                query=(
                    Parameter(
                        "confirm_within_s",
                        f"1..{LONGEST_CONFIRM_S}",
                        "the change stays",
                        "take the change back after so many seconds, unless POST /config/confirm comes before",
                        {"type": "integer", "minimum": 1, "maximum": LONGEST_CONFIRM_S},
                    ),
                ),
                body=_TEXT,
                refusals=(BAD_QUERY, _NOT_TEXT, _TOO_LONG, BAD_CONFIG, COMMAND, NEEDS_RESTART, UNCONFIRMED, CHANGED_MEANWHILE),
                is_costly=True,
                answer=models.Applied,
                body_model=models.ConfigText,
                body_media=(TEXT,),
                body_is_optional=True,
            ),
        ),
    ),
    Route(
        "/config/confirm",
        "POST: let the change stay that waits for it",
        (
            Operation(
                "POST",
                "Lets the last change stay, which would be taken back otherwise.",
                "`confirmed`",
                "`confirmed`: true",
                refusals=(Refusal(HTTPStatus.CONFLICT, "nothing-to-confirm", "no change waits for its confirmation"),),
                answer=models.Confirmed,
            ),
        ),
    ),
    Route(
        "/config/save",
        "POST: write what is in force into the file; only_show",
        (
            Operation(
                "POST",
                "Writes the services, pools and tunables that are in force into the file, and keeps its comments. Where the "
                "file belongs to root, `appliance save` asks for the text and writes it itself.",
                _CHANGES,
                "`file` (its path), `changes` (a list of lines), `before` and `after` (its text), `is_written`",
                query=(
                    Parameter(
                        "only_show",
                        "1",
                        "the file is written",
                        "write nothing, and answer what would be written",
                        {"type": "string", "enum": ["1"]},
                    ),
                ),
                refusals=(
                    BAD_QUERY,
                    Refusal(HTTPStatus.CONFLICT, "file-changed", "the file has been changed since it was read"),
                    Refusal(
                        HTTPStatus.CONFLICT, "not-writable", "the file cannot be written, or has a form that cannot be changed"
                    ),
                    Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-config", "the file has mistakes"),
                    UNCONFIRMED,
                ),
                is_costly=True,
                answer=models.Saved,
            ),
        ),
    ),
)
