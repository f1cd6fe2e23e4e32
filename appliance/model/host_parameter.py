"""A parameter of the host's kernel (`/proc/sys/net`): what is known of one, and which values it may take.

A parameter is one number, or two or three of which none may be less than the one before it (`4096 131072 6291456`). Some have a
value for each interface and one for `all`; the kernel goes by the larger of the two.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

ALL = "all"
"""The place of the value for all interfaces of the host."""

ONLY = ""
"""The place of the value of a parameter that has no value for each interface."""

_LONGEST_NUMBER = 40
"""In digits. A longer number is refused without being read, and a longer text is not repeated in full."""

Values = tuple[int, ...]
"""The numbers of a parameter, in their order."""


class HostParameterError(ValueError):
    """A value that is refused; the message names the parameter, the number, its value, and what would be allowed."""

    def __init__(self, message: str, field: str = "") -> None:
        """`field` is the name of the number that is wrong; empty when no single one is."""
        super().__init__(message)
        self.field = field


class Number(NamedTuple):
    """One number of a parameter. `low` and `high` are what the appliance writes, both included: the kernel itself takes negative
    times and sizes in any order."""

    name: str
    """Its name when there are several; `value` when it is alone."""
    low: int
    high: int


class HostParameter(NamedTuple):
    """One parameter."""

    name: str
    """As `sysctl` and the kernel's manual have it, without what stands before it."""
    path: str
    """Below /proc/sys/net; `*` stands for an interface or `all`."""
    numbers: tuple[Number, ...]
    """Those of one parameter all have the same range."""
    unit: str
    """Empty for switches and modes."""
    usual: Values
    """The kernel's own default; empty when the kernel takes it from the size of the memory."""
    meaning: str
    """What it does, in one sentence."""
    mistake: str
    """What people often believe of it, or do with it, and what is true."""
    here: str
    """What it has to do with the gateway, and why the recommended value is recommended, or none is."""
    recommended: Values | None = None
    """The value for a host that is a gateway; None where the value of the kernel is right, or only the operator can know."""
    needed: tuple[int, ...] = ()
    """The only values with which the gateway works; empty when it works with any."""
    tunables: tuple[str, ...] = ()
    """The tunables that do for sessions of the gateway what this does for sockets of the host."""
    refused: str = ""
    """Why the appliance never writes it; empty when it may."""
    since: str = ""
    """The first Linux that has it; empty when every kernel does on which the appliance runs."""
    until: str = ""
    """The first Linux that has it no more; empty when it is still there."""
    of_host: bool = False
    """Whether there is one for the whole host, so that other network namespaces cannot write it, or have it not at all."""

    @property
    def per_interface(self) -> bool:
        """Whether it has a value for each interface."""
        return "*" in self.path

    def path_at(self, place: str) -> str:
        """The path of its value at a place: an interface, `all`, or ONLY for a parameter without such values."""
        return self.path.replace("*", place)

    def full_name(self, place: str = ONLY) -> str:
        """The name that the command `sysctl` takes; without a place, that of one for each interface has a `*` in it."""
        return sysctl_name(self.path_at(place) if place else self.path)

    @property
    def range_text(self) -> str:
        """What is allowed, with the unit: ``1..3600 s``, or ``first last: each 1024..65535 port, ascending``."""
        if len(self.numbers) == 1:
            return _range(self, self.numbers[0])
        return f"{' '.join(number.name for number in self.numbers)}: each {_range(self, self.numbers[0])}, ascending"


State = Literal["writable", "read-only", "absent"]


class HostReading(NamedTuple):
    """A parameter as the kernel has it at this moment, in the network namespace of the appliance."""

    parameter: HostParameter
    values: Mapping[str, Values]
    """By place; empty when the kernel has none."""
    state: State
    reason: str
    """Why it is not writable; empty when it is."""

    def at(self, place: str) -> "HostReading":
        """The same with the value at one place alone; with ONLY, with all of them."""
        if place == ONLY:
            return self
        return self._replace(values={one: values for one, values in self.values.items() if one == place})


def sysctl_name(path: str) -> str:
    """The name of a path below /proc/sys/net, as the command `sysctl` writes it: a dot in the name of an interface is a slash."""
    return ".".join(("net", *(part.replace(".", "/") for part in path.split("/"))))


def text_of(values: Values) -> str:
    """Values as the kernel takes and shows them, with one blank between numbers."""
    return " ".join(map(str, values))


def parse_values(parameter: HostParameter, text: str) -> Values:
    """Read decimal integers with blanks between them, all in their ranges. Raises HostParameterError otherwise."""
    words = text.split()
    if wrong := [word for word in words if not (word.isascii() and word.removeprefix("-").isdigit())]:
        raise HostParameterError(f"{parameter.name}: {wrong[0][:_LONGEST_NUMBER]!r} is not an integer {_allowed(parameter)}")
    if long := [word for word in words if len(word) > _LONGEST_NUMBER]:
        raise HostParameterError(f"{parameter.name}: a number of {len(long[0])} digits is out of range {parameter.range_text}")
    return check_values(parameter, [int(word) for word in words])


def check_values(parameter: HostParameter, values: Sequence[int]) -> Values:
    """`values`, when the parameter may take them.

    Raises HostParameterError when there are too few or too many, when one is out of range or less than the one before it, or when
    the gateway would not work with it.
    """
    if len(values) != len(parameter.numbers):
        wanted = f"{len(parameter.numbers)} numbers" if len(parameter.numbers) > 1 else "one number"
        raise HostParameterError(f"{parameter.name}: takes {wanted}, and not {len(values)} {_allowed(parameter)}")
    for number, value in zip(parameter.numbers, values, strict=True):
        if not number.low <= value <= number.high:
            raise HostParameterError(
                f"{_named(parameter, number)} {value} is out of range {_range(parameter, number)}", number.name
            )
    for (earlier, least), (later, value) in pairwise(zip(parameter.numbers, values, strict=True)):
        if value < least:
            raise HostParameterError(
                f"{_named(parameter, later)} {value} is below {earlier.name}, which is {least} {_allowed(parameter)}", later.name
            )
    if parameter.needed and not parameter.per_interface and values[0] not in parameter.needed:
        raise HostParameterError(f"{parameter.name}: {values[0]} would break the gateway. {parameter.here}")
    return tuple(values)


def check_places(parameter: HostParameter, values: Mapping[str, Values]) -> None:
    """Check the values of all places together: of `all` and of the interfaces of the gateway, as they would be after a write.

    Raises HostParameterError when the gateway would not work with them. The kernel goes by the larger value of `all` and of the
    interface; and the appliance puts that of each interface right on its own, so that one has to be right without `all`.
    """
    if not parameter.per_interface or not parameter.needed:
        return
    overall = values.get(ALL, (0,))[0]
    for place, (value,) in values.items():
        if place != ALL and not {value, max(value, overall)} <= {*parameter.needed}:
            with_all = f", with {overall} at {ALL}," if value in parameter.needed else ""
            raise HostParameterError(f"{parameter.name}: {value} at {place}{with_all} would break the gateway. {parameter.here}")


def _allowed(parameter: HostParameter) -> str:
    return f"(allowed: {parameter.range_text})"


def _named(parameter: HostParameter, number: Number) -> str:
    return f"{parameter.name}:" if len(parameter.numbers) == 1 else f"{parameter.name}: {number.name}"


def _range(parameter: HostParameter, number: Number) -> str:
    return f"{number.low}..{number.high} {parameter.unit}".rstrip()


def parse_kernel_text(text: str) -> Values:
    """The numbers that the kernel shows, whatever they are. Raises ValueError for anything else."""
    return tuple(int(word) for word in text.split())
