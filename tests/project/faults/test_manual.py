"""manual.py and report.py: the table of the manual has every fault, and only what the program prints gets into it."""

import re

import pytest

from bench.rig.machine import Machine
from faults import manual, report
from faults.figures import ALL, figures
from faults.matrix import Outcome
from faults.promises import broken
from faults.rows import ROWS
from tests.project.faults.traffic import TIMES, exchange, record, steady, stream

MACHINE = Machine("6.1", "a CPU", 2, "3.11", 0.5)
PAGE = "before\n<!-- faults, lane off: begin -->\nold\n<!-- faults, lane off: end -->\nafter\n"

WELL = Outcome(ROWS[0], ROWS[0].off, figures(record(stream()), TIMES, ALL, 2))
SEEN = figures(record(stream(last=11.0), connections=steady(exchange(19.9, "reset"))), TIMES, ALL, 2)
BAD = Outcome(ROWS[1], ROWS[1].off, SEEN, tuple(broken(ROWS[1].off, SEEN)))
ELSEWHERE = Outcome(ROWS[2], ROWS[2].off, None, why_not="no lane")
FAILED = Outcome(ROWS[3], ROWS[3].off, None, why_not="it fell over", is_error=True)


@pytest.mark.parametrize("lane", [True, False])
def test_the_tables_of_the_manual_have_every_fault(*, lane: bool) -> None:
    rows = re.findall(r"^\| ([^|]+) \|", manual.table_of(manual.PAGE.read_text(), lane=lane), re.MULTILINE)
    assert rows == [report.HEADS[0], "---", *(row.title for row in ROWS)], "run `make faults FAULTS=--manual`"


def test_a_table_is_put_between_its_marks() -> None:
    assert manual.with_table(PAGE, "new", lane=False) == PAGE.replace("old\n", "\nnew\n")
    assert manual.table_of(manual.with_table(PAGE, "new", lane=False), lane=False) == "\nnew\n"


@pytest.mark.parametrize("page", ["", PAGE.replace("end", "eno"), PAGE * 2])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(manual.PageError):
        manual.with_table(page, "new", lane=False)


def test_a_table_says_what_was_not_kept() -> None:
    table = report.as_markdown([WELL, BAD], MACHINE, lane=False)
    assert f"| {ROWS[0].title} | nothing | 0 of 1 | 0.0 s | 0.0 s | 0.0 s | kept |" in table
    assert f"| {ROWS[1].title} | 1 of 11 connections failed (1 reset) | 1 of 1 (1 silent) | - | not | - | not kept |" in table
    assert f"- {ROWS[1].title}: new connections still failed at the end (promised: " in table
    assert "Every promise was kept." in report.as_markdown([WELL], MACHINE, lane=False)


def test_a_fault_that_cannot_be_tried_here_breaks_no_promise_and_one_that_went_wrong_does() -> None:
    assert report.is_kept([WELL, ELSEWHERE])
    assert not report.is_kept([WELL, FAILED])
    assert not report.is_kept([WELL, BAD])
    text = report.as_text([WELL, ELSEWHERE, FAILED], MACHINE, lane=False)
    assert "not applicable: no lane" in text
    assert "could not be tried: it fell over" in text
    assert "1 of 3 faults tried" in text


def test_a_table_says_when_clients_of_lost_sessions_were_told() -> None:
    seen = figures(record(stream(last=12.5, ended="reset"), stream()), TIMES, ALL, 2)
    told = Outcome(ROWS[0], ROWS[0].off, seen)
    assert "1 of 2 (1 reset, told within 2.5 s)" in report.as_markdown([told], MACHINE, lane=False)


def test_data_has_everything() -> None:
    data = report.as_data([WELL, BAD, ELSEWHERE], MACHINE, lane=False)
    assert [row["name"] for row in data["rows"]] == [row.name for row in ROWS[:3]]
    assert (data["kept"], data["rows"][2]["figures"], data["rows"][2]["why_not"]) == (False, None, "no lane")
    assert data["rows"][1]["figures"]["connections"]["failed"] == {"reset": 1}
    assert data["rows"][1]["broken"][0]["kind"] == "time"
