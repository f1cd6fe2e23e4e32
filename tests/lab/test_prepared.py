"""Prepared admissions on real packets: sessions that the kernel opens are sessions like all others."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import RunningLab, running_lab

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CONNECTIONS = 400


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    for lab in running_lab("--shards", "2"):
        lab.set_tunable("prepared_admissions", 1)
        yield lab


def opened(lab: RunningLab) -> int:
    count: int = lab.api_json("/stats/lane")["counters"]["opened"]
    return count


def connect(lab: RunningLab) -> None:
    result = lab.script("client", "http_load.py", str(CONNECTIONS), "8")
    assert (result["ok"], result["errors"], result["clients"]) == (CONNECTIONS, {}, {"right": CONNECTIONS})


def test_connections_are_opened_by_the_kernel(lab: RunningLab) -> None:
    connect(lab)
    before = opened(lab)
    connect(lab)
    print(lab.api_json("/stats/lane"))
    assert opened(lab) - before > CONNECTIONS // 2
