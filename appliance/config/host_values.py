"""The values of the host's parameters in the configuration file: a number, or a list of numbers, or the same as text."""

from typing import Any

from pydantic_core import PydanticCustomError

from appliance.model.host_parameter import HostParameter, HostParameterError, check_places, check_values, parse_values

HostValues = tuple[int, ...]

HOST_VALUE = "host_parameter"
"""The kind of these problems. Their message is a whole sentence."""


def host_values(parameter: HostParameter, value: object) -> HostValues:
    """The numbers of a parameter. Raises PydanticCustomError when it may not have them."""
    try:
        return _checked(parameter, value)
    except HostParameterError as error:
        message = str(error).removeprefix(f"{parameter.name}: ")
        raise PydanticCustomError(HOST_VALUE, "{message}", {"message": message}) from None


def _checked(parameter: HostParameter, value: object) -> HostValues:
    if parameter.refused:
        raise HostParameterError(f"cannot be set: {parameter.refused}")
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if not isinstance(value, str) and not all(type(number) is int for number in numbers):
        raise HostParameterError(f"is not {_form(parameter)} (allowed: {parameter.range_text})")
    values = parse_values(parameter, value) if isinstance(value, str) else check_values(parameter, numbers)
    if parameter.per_interface:
        check_places(parameter, {"the interfaces of the gateway": values})
    return values


def host_values_allowed(parameter: HostParameter) -> str:
    """What the key allows, in words."""
    if parameter.refused:
        return f"nothing: {parameter.refused}"
    if len(parameter.numbers) == 1:
        return parameter.range_text
    return f"{_form(parameter)}: {parameter.range_text}"


def _form(parameter: HostParameter) -> str:
    return "an integer" if len(parameter.numbers) == 1 else f"a list of {len(parameter.numbers)} integers"
