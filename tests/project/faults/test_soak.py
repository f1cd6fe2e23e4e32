"""soak: what has piled up is found, and what comes and goes is not."""

from typing import Any

import pytest

from faults.site import short_timeouts
from faults.soak.__main__ import as_text, parse
from faults.soak.samples import ProcessSample, Sample, Tables, tables_of
from faults.soak.verdict import Soak, slope_kib_per_min, troubles

EMPTY = Tables(0, 0, None)
WELL = {"short connections": {"answered": 5_000}, "half-open connections": {"sent": 100}}


def sample(at: float, rss_kib: int = 60_000, pid: int = 1, descriptors: int = 20) -> Sample:
    return Sample(at, {"director": ProcessSample(pid, rss_kib, descriptors)})


def soak(*during: Sample, **changes: Any) -> Soak:
    samples = during or tuple(map(sample, range(60)))
    whole = Soak(sample(0), samples, sample(99), EMPTY, "rules", "rules", WELL, 0, ())
    return whole._replace(**changes)


def test_a_quiet_run() -> None:
    assert list(troubles(soak())) == []
    assert "nothing has piled up" in as_text(soak())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"left": Tables(3, 0, None)}, "3 sessions were left when all timeouts were over"),
        ({"left": Tables(0, 2, None)}, "2 local ports were left in use"),
        ({"left": Tables(0, 0, 4)}, "4 entries were left in the kernel's table of sessions"),
        ({"rules_after": "other rules"}, "the nft objects are not those of the start"),
        ({"after": sample(99, pid=2)}, "director was replaced"),
        ({"after": sample(99, descriptors=23)}, "director has 23 descriptors, 20 before"),
        ({"corrupted_at_servers": 1}, "real servers saw wrong bytes in 1 connections"),
        ({"outcomes": {}}, "there was no traffic"),
        ({"outcomes": {"bulk": {"answered": 9, "reset": 1}}}, "bulk: 1 reset"),
        ({"outcomes": {"bulk": {"answered": 9, "corrupted": 1}}}, "bulk: 1 had wrong bytes"),
        ({"outcomes": {"bulk": {"answered": 9, "no answer": 2}}}, "bulk: 2 of 11 without an answer"),
        ({"api_failures": ("/sysctl: 503", "/sysctl: 503")}, "the API failed: /sysctl: 503"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], words: str) -> None:
    assert list(troubles(soak(**changes))) == [words]
    assert words in as_text(soak(**changes))


def test_one_datagram_without_an_answer_is_no_trouble() -> None:
    assert list(troubles(soak(outcomes={"datagrams": {"answered": 9, "no answer": 1}}))) == []


def test_memory_that_grows_without_end_is_found() -> None:
    growing = [sample(second, 60_000 + 300 * second) for second in range(60)]
    assert slope_kib_per_min("director", growing) == pytest.approx(18_000)
    assert list(troubles(soak(*growing))) == ["director grew by 11.4 MiB, 17.58 MiB a minute"]


@pytest.mark.parametrize(
    "rss_kib",
    [
        pytest.param(lambda second: 60_000 + 3_000 * min(second, 15), id="it grows until its tables have their size"),
        pytest.param(lambda second: 60_000 + (20_000 if second == 40 else 0), id="one answer was large"),
        pytest.param(lambda second: 60_000 + 500 * (second % 20), id="it comes and goes"),
        pytest.param(lambda second: 60_000 + 100 * second, id="less than can be told"),
    ],
)
def test_memory_that_does_not_is_no_trouble(rss_kib: object) -> None:
    assert callable(rss_kib)
    assert list(troubles(soak(*(sample(second, rss_kib(second)) for second in range(60))))) == []


def test_tables_are_those_of_slabinfo_and_of_the_lane() -> None:
    slabs = {name: {"active_objs": count} for name, count in (("tcp_conn", 3), ("udp_conn", 4), ("conn_bucket", 9))}
    pools = {f"{kind}_ports:192.0.2.10>192.0.2.101:80": {"active_objs": 1} for kind in ("tcp", "udp")}
    lane = {"state": "on", "entries": {"used": 5, "free": 3, "total": 8}}
    assert tables_of(slabs | pools, lane) == Tables(7, 2, 5)
    assert tables_of(slabs | pools, lane | {"state": "off"}) == Tables(7, 2, None)
    assert not Tables(0, 0, 1).is_empty
    assert Tables(0, 0, 0).is_empty


def test_timeouts_are_as_short_as_the_tunables_allow() -> None:
    lines = short_timeouts(8_000).split()
    assert "tcp_timeout_established" in lines
    assert set(lines) - {"[sysctl]", "=", "8000"} == {word for word in lines if word.startswith(("tcp_timeout_", "udp_timeout"))}


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "1441"])
def test_minutes_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        parse(["--minutes", text])
