"""links.py: a table that changes while it is read is an error of the edge, and no other."""

import pytest
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

from appliance.edge import links
from appliance.edge.errors import EdgeError


def test_a_table_that_changes_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise NetlinkDumpInterrupted()

    monkeypatch.setattr("pyroute2.IPRoute.get_links", interrupted, raising=False)
    with pytest.raises(EdgeError, match="cannot ask for"):
        links.states(["lo"])
