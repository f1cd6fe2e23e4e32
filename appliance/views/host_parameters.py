"""Views of the parameters of the host's kernel. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.model.host_parameter import ONLY, HostParameter, HostReading, Values, text_of
from appliance.model.host_parameters import recommended
from appliance.views.document import Document, align

_NOTHING = "-"


def all_parameters(readings: Sequence[HostReading], tunables: Mapping[str, int]) -> Document:
    """All parameters: the value in force beside the recommended one, the range, the unit and the meaning."""
    head = ("name", "value", "recommended", "range", "unit", "meaning")
    rows = [(reading.parameter.name, *_cells(reading, tunables)) for reading in readings]
    return Document(align("<<<<<<", (head, *rows)), {reading.parameter.name: _row(reading, tunables) for reading in readings})


def one_parameter(reading: HostReading, place: str, tunables: Mapping[str, int], name: str) -> Document:
    """One parameter, or its value at one place; the text is the value in force alone, for scripts. A parameter with a value for
    each interface has one line for each, and one for `all`; one that is absent has an empty line.

    `name` is the one under which it was asked for.
    """
    reading = reading.at(place)
    return Document(_text(reading, place), {"name": name} | _row(reading, tunables, place))


def _text(reading: HostReading, place: str) -> str:
    if reading.parameter.per_interface and place == ONLY:
        return "".join(f"{one} {text_of(values)}\n" for one, values in reading.values.items()) or "\n"
    return f"{' '.join(map(text_of, reading.values.values()))}\n"


def _cells(reading: HostReading, tunables: Mapping[str, int]) -> tuple[str, ...]:
    parameter = reading.parameter
    values = (f"{place} {text_of(values)}".strip() for place, values in reading.values.items())
    advice = recommended(parameter, tunables)
    low, high = parameter.numbers[0].low, parameter.numbers[0].high
    return (
        ", ".join(values) or reading.state,
        text_of(advice) if advice else _NOTHING,
        f"{low}..{high}",
        parameter.unit or _NOTHING,
        parameter.meaning,
    )


def _row(reading: HostReading, tunables: Mapping[str, int], place: str = ONLY) -> dict[str, Any]:
    parameter = reading.parameter
    return {
        "value": value_of(reading, place),
        "recommended": _numbers(recommended(parameter, tunables)),
        "default": _numbers(parameter.usual or None),
        "unit": parameter.unit,
        "state": reading.state,
        "reason": reading.reason,
        "sysctl": parameter.full_name(place),
        "ranges": ranges(parameter),
        "meaning": parameter.meaning,
        "mistake": parameter.mistake,
        "here": parameter.here,
        "tunables": list(parameter.tunables),
    }


def ranges(parameter: HostParameter) -> list[dict[str, Any]]:
    """What each number of a parameter may be."""
    return [{"field": number.name, "min": number.low, "max": number.high} for number in parameter.numbers]


def value_of(reading: HostReading, place: str = ONLY) -> Any:
    """The value at a place as JSON has it: a number, a list of numbers, or by place; None when there is none."""
    reading = reading.at(place)
    if reading.parameter.per_interface and place == ONLY and reading.values:
        return {one: _numbers(values) for one, values in reading.values.items()}
    return next(map(_numbers, reading.values.values()), None)


def _numbers(values: Values | None) -> int | list[int] | None:
    """One number as it is, several as a list."""
    if values is None:
        return None
    return values[0] if len(values) == 1 else list(values)
