"""The value in the body of a PUT: decimal digits or JSON. Pure."""

import math
from typing import Any, NamedTuple

from appliance.model.tunables import TUNABLES, TunableError, parse_value
from appliance.rest.strict_json import parse_json

_LONGEST_SHOWN = 80


class AskedValue(NamedTuple):
    """What a client sent. `given` is the text without blanks around it, or the value inside the JSON."""

    given: Any
    is_json: bool
    text: str

    def for_tunable(self, name: str) -> int:
        """The integer for tunable `name`. Raises TunableError when the client sent none; in JSON a string is no integer."""
        if not self.is_json:
            return parse_value(name, self.text)
        if type(self.given) is int:
            return self.given
        shown = self.text.strip()[:_LONGEST_SHOWN]
        raise TunableError(f'{name}: {shown} is not {{"value": INTEGER}} (allowed: {TUNABLES[name].range_text})')

    @property
    def shown(self) -> Any:
        """`given`, cut to a length fit for a problem document. An infinity becomes text, because JSON has none."""
        given = self.given
        if given is None or isinstance(given, int) or (isinstance(given, float) and math.isfinite(given)):
            return given
        return (given if isinstance(given, str) else self.text)[:_LONGEST_SHOWN]


def read_asked_value(body: bytes, content_type: str) -> AskedValue:
    """The value in a body. It is JSON when the content type says so or the body begins with ``{`` or ``[``, else text.

    The content type alone would not do, since curl calls every body a form. Of a JSON object only the member "value" is
    read, so that the document of a GET can be edited and put back. Raises ValueError when the JSON is malformed.
    """
    text = body.decode(errors="replace")
    if not (content_type == "application/json" or text.lstrip().startswith(("{", "["))):
        return AskedValue(text.strip(), False, text)
    document = parse_json(text)
    given = document["value"] if isinstance(document, dict) and "value" in document else document
    return AskedValue(given, True, text)
