"""faults.connections: a run that is well has no trouble, and whatever is wrong is said."""

from typing import Any

import pytest

from appliance.config.loading import load
from bench.rig.topology import VIPS
from faults.connections.__main__ import as_text, parse
from faults.connections.load import CONNECTIONS, paced_script, pause_ms
from faults.connections.site import FIRST_PORT, SERVICES, configuration
from faults.connections.verdict import Look, Run, wrong
from faults.soak.samples import ProcessSample, Sample

RS1, RS2, RS3 = SERVICES[0].weights


def sample(at: float, rss_kib: int = 60_000, pid: int = 1) -> Sample:
    return Sample(at, {"worker 0": ProcessSample(pid, rss_kib, 20)})


def figures(*conns: int, over: int = 0) -> dict[str, dict[str, int]]:
    return {
        address: {"conns": count, "active_conns": 0, "inactive_conns": over}
        for address, count in zip((RS1, RS2, RS3), conns, strict=True)
    }


def look(turns: tuple[int, int, int] = (200, 200, 200), weighted: tuple[int, int, int] = (100, 200, 300), **changes: Any) -> Look:
    held = {f"{address}:8081": {"in_use": 1, "ready": 0, "young": 0, "resting": 5} for address in (RS1, RS2, RS3)}
    entries = {"used": 18, "without_client": 3, "free": 9}
    consistency = {"wrong": 0, "problems": [], "entries": entries, "flows": 33, "free": 70, "real_servers": held}
    return Look(consistency | changes, {"turns": figures(*turns, over=6), "weighted": figures(*weighted)})


def run(**changes: Any) -> Run:
    whole = Run(
        wanted=1200,
        answered=1200,
        reused=0,
        opened_by_kernel=1100,
        seconds=2.0,
        troubles=(),
        before=sample(0),
        during=tuple(map(sample, range(60))),
        last=sample(99),
        looks=(look(),),
        after=look(),
        shards=2,
    )
    return whole._replace(**changes)


def test_a_run_that_is_well() -> None:
    assert list(wrong(run())) == []
    said = as_text(run())
    assert said.startswith("1,200 connections in 2 s, 600 a second; 1,100 opened by the kernel; 0 went on with an older one\n")
    assert said.endswith("\nall of it agrees\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"troubles": ("wrk: 3 read errors",) * 2}, "clients: wrk: 3 read errors"),
        ({"wanted": 1201}, "1,200 connections were answered of 1,201"),
        ({"answered": 1210, "reused": 9}, "1,200 new sessions and 9 that went on are counted, for 1,210 connections"),
        ({"after": look((205, 198, 197))}, f"turns: {RS1} got 205 of 600 connections, and 200.0 is its share"),
        ({"after": look(weighted=(100, 191, 309))}, f"weighted: {RS2} got 191 of 600 connections, and 200.0 is its share"),
        ({"looks": (look(problems=["shard 1: entry 7 is held twice"]),)}, "shard 1: entry 7 is held twice"),
        ({"after": look(problems=["shard 0: entry 8"])}, "shard 0: entry 8"),
        ({"after": look(flows=36)}, "36 flows are in the lane, and 18 entries are used, 3 of them without a client"),
        ({"after": look(real_servers={f"{RS1}:8081": {"in_use": 2, "ready": 9, "young": 0, "resting": 5}})},
         f"{RS1} has 7 sessions, and 6 are counted"),
        ({"wanted": 10**6, "answered": 10**6, "reused": 10**6, "opened_by_kernel": 949_999},
         "the kernel opened 949,999 of 1,000,000 connections, and workers the others"),
        ({"last": sample(99, pid=2)}, "worker 0 was replaced"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in list(wrong(run(**changes)))
    assert said in as_text(run(**changes))


def test_a_shard_in_the_middle_of_a_turn_is_no_trouble() -> None:
    """Each of two may have given each real server as many more as its weight says."""
    assert list(wrong(run(after=look((202, 199, 199), (102, 200, 298))))) == []


def test_the_kernel_may_open_fewer_of_a_short_run() -> None:
    assert list(wrong(run(opened_by_kernel=10))) == []
    assert list(wrong(run(wanted=10**6, answered=10**6, reused=10**6, opened_by_kernel=950_000))) == []


def test_memory_that_grows_without_end_is_found() -> None:
    growing = tuple(sample(second, 60_000 + 300 * second) for second in range(60))
    assert list(wrong(run(during=growing))) == ["worker 0 grew by 11.4 MiB, 17.58 MiB a minute"]


@pytest.mark.parametrize("rate", [1, 999, 5000, 100_000])
def test_there_are_never_more_a_second_than_are_wanted(rate: int) -> None:
    assert CONNECTIONS / (pause_ms(rate) / 1000) <= rate
    assert f"return {pause_ms(rate)}\n" in paced_script(VIPS[:2], rate)


def test_the_configuration_has_both_schedulers_and_so_many_ports(tmp_path: Any) -> None:
    file = tmp_path / "lvs.toml"
    file.write_text(configuration(256))
    loaded = load(file)
    assert [service.scheduler for service in loaded.services] == ["rr", "wrr"]
    assert [real_server.weight for real_server in loaded.services[1].real_servers] == [1, 2, 3]
    assert loaded.sysctl["fullnat_lport_max"] - loaded.sysctl["fullnat_lport_min"] == 255
    assert loaded.sysctl["fullnat_lport_min"] == FIRST_PORT


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--count", "0"), "argument --count: '0' is not a number from 1 to 1000000000"),
        (("--rate", "x"), "argument --rate: 'x' is not a number from 1 to 100000"),
        (("--local-ports", "255"), "argument --local-ports: '255' is not a number from 256 to 60000"),
    ],
)
def test_a_wrong_command_line_is_refused(given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(given)
    assert said in capsys.readouterr().err
