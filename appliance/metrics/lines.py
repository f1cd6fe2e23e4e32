"""The lines of the page in the two formats of Prometheus. Pure.

prometheus_client writes the same, and says which content types there are and how numbers look. But it makes an object, a dict and
a sorted list for each line, and a page of twenty thousand real servers has 280,000 of them: five times the time. A test compares
both, character by character.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter

from prometheus_client.utils import floatToGoString

from appliance.metrics.family import PREFIX, Family, Series
from appliance.metrics.reading import Reading

_LINES_AT_ONCE = 1000
"""A piece of the page: a millisecond's work."""


class _Numbers(dict[float, str]):
    """How numbers look. Most of them are there many times. Zero has no sign, because both zeros are one key."""

    def __missing__(self, number: float) -> str:
        text: str = floatToGoString(number + 0.0)  # type: ignore[no-untyped-call]
        return self.setdefault(number, text)


class _Values(dict[str, str]):
    """How values of labels look."""

    def __missing__(self, value: str) -> str:
        return self.setdefault(value, _escaped(value).replace('"', r"\""))


def text_page(families: Iterable[Family], reading: Reading) -> Iterator[str]:
    """Prometheus' text format, version 0.0.4."""
    numbers, values = _Numbers(), _Values()
    for family in families:
        name = family.series_name
        head = f"# HELP {name} {_escaped(family.meaning)}\n# TYPE {name} {family.kind.value}\n"
        yield from _with_head(head, _lines(family, reading, numbers, values))


def openmetrics_page(families: Iterable[Family], reading: Reading) -> Iterator[str]:
    """OpenMetrics 1.0.0."""
    numbers, values = _Numbers(), _Values()
    for family in families:
        name = PREFIX + family.name
        unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
        head = f"# HELP {name} {values[family.meaning]}\n# TYPE {name} {family.kind.value}\n{unit}"
        yield from _with_head(head, _lines(family, reading, numbers, values))
    yield "# EOF\n"


def _with_head(head: str, lines: Iterator[str]) -> Iterator[str]:
    """Nothing of a family without lines."""
    while some := "".join(islice(lines, _LINES_AT_ONCE)):
        yield head + some
        head = ""


def _lines(family: Family, reading: Reading, numbers: _Numbers, values: _Values) -> Iterator[str]:
    """A line for each series; labels stand in the order of their names."""
    series: Iterable[Series] = family.read(reading)
    places = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    if not places:
        return (f"{family.series_name} {numbers[number]}\n" for _, number in series)
    line = ",".join(f'{family.labels[place]}="%s"' for place in places).join((f"{family.series_name}{{", "} %s\n"))
    if len(places) == 1:
        return (line % (values[one], numbers[number]) for (one,), number in series)
    in_order = itemgetter(*places)
    return (line % (*map(values.__getitem__, in_order(labels)), numbers[number]) for labels, number in series)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
