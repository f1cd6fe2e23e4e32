"""The faults, by what breaks. ROWS has all of them, in the order in which they are tried."""

from faults.rows import lane, links, processes, resources, rules, settings
from faults.rows.row import NotApplicableError, Row

__all__ = ["ROWS", "NotApplicableError", "Row", "named"]

ROWS: tuple[Row, ...] = (
    *processes.ROWS,
    *rules.ROWS,
    *lane.ROWS,
    *links.ROWS,
    *resources.ROWS,
    *settings.ROWS,
)


def named(names: str) -> tuple[Row, ...]:
    """The rows with these names, separated by commas, in the order of ROWS. Raises ValueError for a name that none has."""
    wanted = names.split(",")
    if unknown := set(wanted) - {row.name for row in ROWS}:
        raise ValueError(f"there is no row {', '.join(sorted(unknown))}; the rows are {', '.join(row.name for row in ROWS)}")
    return tuple(row for row in ROWS if row.name in wanted)
