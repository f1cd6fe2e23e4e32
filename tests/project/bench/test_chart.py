"""The chart of one run: well-formed, on a scale, with every mode in it."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.compare.chart import as_svg, main, panels_of


def texts(svg: str) -> list[str]:
    """All words in the chart."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_throughput_is_drawn_as_its_ratio_and_waits_in_milliseconds(data: dict[str, Any]) -> None:
    ratios, waits = panels_of(data)
    assert [(bar.mode, bar.median) for bar in ratios.bars] == [("nft-nat", 0.8), ("appliance", 0.25)]
    assert ratios.base == 1.0
    assert [(bar.mode, bar.median, bar.mark) for bar in waits.bars] == [
        ("routing", 2.0, 0.5),
        ("nft-nat", 1.6, 0.5),
        ("appliance", 0.5, 0.5),
    ]


def test_every_bar_says_its_figures(data: dict[str, Any]) -> None:
    said = texts(as_svg(data))
    assert "0.25 · 250 connections/s" in said
    assert "0.80 · 800 connections/s !" in said
    assert "2.00 ms · 4.5 times" in said
    assert "plain routing: 1,000 connections/s" in said
    assert any("6.1 & more" in line for line in said)


def test_bars_are_as_long_as_their_values(data: dict[str, Any]) -> None:
    widths = [float(width) for width in re.findall(r'<rect class="bar [a-z-]+" [^>]*width="([0-9.]+)"', as_svg(data))]
    assert widths[1] / widths[0] == pytest.approx(0.25 / 0.8, rel=0.01)


def test_what_others_took_is_said(data: dict[str, Any]) -> None:
    assert "other programs" not in as_svg(data)
    assert "; other programs took 31% of them" in as_svg(data | {"others_share": {"median": 0.31, "low": 0.1, "high": 0.5}})


def test_a_bar_that_is_too_long_is_cut_and_shows_it(data: dict[str, Any]) -> None:
    assert "<path" not in as_svg(data)
    ratio = data["measures"]["connections"]["ratios"]["appliance/routing"]
    ratio |= {"median": 6.0, "low": 5.0, "high": 7.0}
    svg = as_svg(data)
    assert svg.count("<path") == 1
    right = max(float(x) for x in re.findall(r'x2="([0-9.]+)"', svg))
    assert right <= 560


def test_nothing_is_drawn_outside(data: dict[str, Any]) -> None:
    root = ElementTree.fromstring(as_svg(data))
    height = float(root.attrib["height"])
    for element in root:
        assert float(element.get("y", 0)) < height
        assert float(element.get("x2", 0)) <= float(root.attrib["width"])


def test_measures_without_a_base_are_left_out(data: dict[str, Any]) -> None:
    del (
        data["measures"]["connections"]["ratios"]["nft-nat/routing"],
        data["measures"]["connections"]["ratios"]["appliance/routing"],
    )
    assert len(list(panels_of(data))) == 1


def test_results_of_another_version_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="version 2 of the results is not 1"):
        as_svg(data | {"version": 2})


def test_a_file_of_results_becomes_a_chart(data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(data))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == as_svg(data)
    assert main([]) == 2
