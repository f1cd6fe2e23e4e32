"""Sessions that the kernel opens in the lab: how many there were, and whether all that is in the lane is accounted for."""

from tests.lab.conftest import RunningLab

SYNS = "ip daddr { 192.0.2.101, 192.0.2.102 } tcp flags & (syn | ack) == syn"


def all_conns(lab: RunningLab) -> int:
    """New sessions of all real servers so far; a worker says it some hundredths of a second later."""
    count: int = lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["total"]
    return count


def adds_up(lab: RunningLab) -> bool:
    """Whether what is in the lane is what is listed, those that rest as well; with different local endpoints."""
    rows = [row for row in lab.api_json("/conns") if row["lane"]]
    stats = lab.api_json("/stats/lane")
    assert len({(row["local"], row["destination"]) for row in rows}) == len(rows)
    return int(stats["entries"]["used"]) == len(rows) >= stats["prepared"]["resting"] and not stats["prepared"]["young"]
