"""The page of the manual with the medians of one run."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.compare.page import as_page, main


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_throughput_is_its_ratio_to_routing_and_what_it_was(data: dict[str, Any]) -> None:
    page = as_page(data)
    assert rows(page, "Throughput, of plain routing") == [
        ["nft DNAT+SNAT", "0.80 (0.80..0.80)"],
        ["appliance", "0.25 (0.25..0.25)"],
    ]
    assert rows(page, "Throughput") == [["plain routing", "1,000"], ["nft DNAT+SNAT", "800"], ["appliance", "250"]]
    assert rows(page, "Waits in connections and requests")[2] == ["appliance", "3.00", "9.00"]


def test_cpu_time_is_what_is_beyond_routing_and_the_gateways(data: dict[str, Any]) -> None:
    assert rows(as_page(data), "CPU time") == [["nft DNAT+SNAT", "25.0 (10.0)"], ["appliance", "300.0 (10.0)"]]


def test_waits_beside_bulk_traffic_have_a_row_each(data: dict[str, Any]) -> None:
    title = "small requests beside bulk from server, one shard"
    beside = rows(as_page(data), "Small requests beside a bulk stream")
    assert beside[0] == [title, "plain routing", "0.50", "-", "2.00", "-", "4.50", "-"]
    assert len(beside) == 3


def test_a_mode_that_does_not_carry_it_has_a_dash(data: dict[str, Any]) -> None:
    connections = data["measures"]["connections"]
    del connections["modes"]["appliance"], connections["ratios"]["appliance/routing"]
    page = as_page(data)
    for title in ("Throughput, of plain routing", "Throughput", "CPU time"):
        assert rows(page, title)[-1] == ["appliance", "-"]


def test_errors_and_what_others_took_are_said(data: dict[str, Any]) -> None:
    page = as_page(data | {"others_share": {"median": 0.314, "low": 0.1, "high": 0.5}})
    assert (
        "load average 0.1 at the start.\nOther programs took 31% of the cores meanwhile. So throughput and waits are not" in page
    )
    quiet = as_page(data | {"others_share": {"median": 0.04, "low": 0.0, "high": 0.1}})
    assert "Other programs took 4% of the cores meanwhile.\n" in quiet
    assert "- new connections, nft DNAT+SNAT, round 1: wrk: 1 <read> error\n" in page


def test_without_cpu_time_there_is_no_table_of_it(data: dict[str, Any]) -> None:
    for series in data["measures"]["connections"]["modes"].values():
        series["details"] = {}
    assert "## CPU time" not in as_page(data)


def test_results_of_another_version_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="version 2 of the results is not 1"):
        as_page(data | {"version": 2})


def test_a_file_of_results_becomes_a_page(data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(data))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == as_page(data)
    assert main([]) == 2
