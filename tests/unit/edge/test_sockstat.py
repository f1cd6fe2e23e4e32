"""sockstat.py: what the kernel writes of its own sockets and fragments."""

import pytest

from appliance.edge import sockstat


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sockets: used 182", ("sockets", {"used": 182})),
        ("TCP: inuse 5 orphan 0 tw 10 alloc 20 mem 3", ("TCP", {"inuse": 5, "orphan": 0, "tw": 10, "alloc": 20, "mem": 3})),
        ("FRAG: inuse 0 memory 0", ("FRAG", {"inuse": 0, "memory": 0})),
    ],
)
def test_a_line_of_sockstat(line: str, expected: tuple[str, dict[str, int]]) -> None:
    assert sockstat.parse(line) == expected


def test_this_hosts_own_sockstat_can_be_read() -> None:
    assert {"sockets", "TCP", "UDP"} <= set(sockstat.read())
