"""neighbours.py and links.py: a table that changes while it is read is an error of the edge, and no other."""

from collections.abc import Callable

import pytest
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

from appliance.edge import links, neighbours
from appliance.edge.errors import EdgeError


@pytest.mark.parametrize(
    ("asked", "look"),
    [("get_neighbours", neighbours.failed), ("get_links", lambda: links.states(["lo"]))],
    ids=["neighbours", "links"],
)
def test_a_table_that_changes_while_it_is_read(asked: str, look: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise NetlinkDumpInterrupted()

    monkeypatch.setattr(f"pyroute2.IPRoute.{asked}", interrupted, raising=False)
    with pytest.raises(EdgeError, match="cannot ask for"):
        look()
