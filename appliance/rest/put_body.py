"""The value that the body of a PUT asks for: plain digits or JSON. Pure."""

import json
import math
from typing import Any, NamedTuple

from appliance.model.tunables import TUNABLES, TunableError, parse_value

_LONGEST_SHOWN = 80


class AskedValue(NamedTuple):
    """What a client sent. `given` is the text, or the value inside the JSON."""

    given: Any
    is_json: bool
    text: str

    def for_tunable(self, name: str) -> int:
        """The integer asked for. Raises TunableError when it is none: a string is none in JSON, which has integers."""
        if not self.is_json:
            return parse_value(name, self.text)
        if type(self.given) is int:
            return self.given
        shown = self.text.strip()[:_LONGEST_SHOWN]
        raise TunableError(f'{name}: {shown} is not {{"value": INTEGER}} (allowed: {TUNABLES[name].range_text})')

    @property
    def shown(self) -> Any:
        """`given` as it may stand in a problem document: short, and no infinity, which JSON does not have."""
        given = self.given
        if given is None or isinstance(given, int) or (isinstance(given, float) and math.isfinite(given)):
            return given
        return (given if isinstance(given, str) else self.text)[:_LONGEST_SHOWN]


def read_asked_value(body: bytes, content_type: str) -> AskedValue:
    """Understand a body: JSON when the type or the first character says so (curl calls everything a form), else text.

    A JSON object stands for its member "value", so that the document of a GET can be edited and put back.
    Raises ValueError when the JSON is malformed.
    """
    text = body.decode(errors="replace")
    if not (content_type == "application/json" or text.lstrip().startswith("{")):
        return AskedValue(text.strip(), False, text)
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    given = document["value"] if isinstance(document, dict) and "value" in document else document
    return AskedValue(given, True, text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
