"""The page of the manual that has the tables: the text between two marks is what the program printed. Pure."""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "faults.md"


class PageError(ValueError):
    """A page without the marks."""


def marks(*, lane: bool) -> tuple[str, str]:
    """The lines between which the table stands, with the lane and without."""
    name = f"faults, lane {'on' if lane else 'off'}"
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def with_table(page: str, table: str, *, lane: bool) -> str:
    """The page with another table. Raises PageError when the marks are not there, each once and in order."""
    begin, end = marks(lane=lane)
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end) or page.count(begin) > 1 or page.count(end) > 1:
        raise PageError(f"the page needs {begin.strip()} and {end.strip()}, once each")
    return f"{before}{begin}\n{table}\n{end}{after}"


def table_of(page: str, *, lane: bool) -> str:
    """What stands between the marks. Raises PageError as `with_table` does."""
    begin, end = marks(lane=lane)
    if begin not in page or end not in page:
        raise PageError(f"the page needs {begin.strip()} and {end.strip()}")
    return page.partition(begin)[2].partition(end)[0]
