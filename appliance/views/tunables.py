"""Views of the tunables. Pure."""

from typing import Any

from appliance.ipc.shared_layout import SharedState
from appliance.model.tunables import TUNABLES
from appliance.views.document import Document, align


def all_tunables(shared: SharedState) -> Document:
    """All tunables: the value in force beside its default, range, unit and meaning."""
    data = {name: _row(shared, name) for name in TUNABLES}
    head = ("name", "value", "default", "range", "unit", "summary")
    rows = (
        (name, str(row["value"]), str(row["default"]), f"{row['min']}..{row['max']}", row["unit"] or "-", row["summary"])
        for name, row in data.items()
    )
    return Document(align("<>><<<", (head, *rows)), data)


def one_tunable(shared: SharedState, name: str) -> Document:
    """One tunable; the text is the value in force alone, for scripts."""
    row = _row(shared, name)
    return Document(f"{row['value']}\n", {"name": name} | row)


def _row(shared: SharedState, name: str) -> dict[str, Any]:
    row = TUNABLES[name]._asdict()
    del row["name"]
    return {"value": shared.tunable(name)} | row
