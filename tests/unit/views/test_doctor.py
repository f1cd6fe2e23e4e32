"""views/doctor.py: a report as text and as JSON."""

from appliance.doctor.examine import Report
from appliance.doctor.finding import Finding, Severity
from appliance.views.doctor import COLUMNS, as_text, report

ROUTE = Finding(
    Severity.ERROR,
    "192.0.2.101",
    "it answers nothing",
    "3 sessions",
    "Look there.",
    ("ip route replace 10.9.0.10/32 via 192.0.2.1",),
    "192.0.2.101",
    "real_server_silent",
)
NOTE = Finding(Severity.NOTE, "", "it was lowered", "30 s", "Leave it.", (), "", "fin_timeout_lowered")


def test_the_text_has_commands_in_lines_of_their_own() -> None:
    found = Report(Severity.ERROR, (ROUTE, NOTE), ("clock_set",), {"samples": "too early"}, True, 600.04)
    assert (
        report(found).text
        == """\
error: real_server_silent (192.0.2.101)
    it answers nothing
    seen: 3 sessions
    Look there.
    to mend it, run on 192.0.2.101:
ip route replace 10.9.0.10/32 via 192.0.2.1

note: fin_timeout_lowered
    it was lowered
    seen: 30 s
    Leave it.

error: 1 error, 1 note (counters were watched for 600 s)
not seen: samples (too early)
not checked for that reason: clock_set
"""
    )


def test_long_words_are_wrapped_and_commands_are_not() -> None:
    long = ROUTE._replace(advice="word " * 60, commands=("c" * 300,))
    lines = report(Report(Severity.ERROR, (long,), (), {}, True, 0.0)).text.splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == ["c" * 300]
    assert len([line for line in lines if line.startswith("    word")]) == 3


def test_nothing_reaches_a_terminal_that_it_would_obey() -> None:
    odd = ROUTE._replace(evidence="a\x1b[2Jb\x9bc", about="\r\x07", commands=("echo \x1b]0;x\x07",))
    text = report(Report(Severity.ERROR, (odd,), (), {"x": "\x00"}, True, 0.0)).text
    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    assert "a?[2Jb?c" in text


def test_a_report_without_findings_is_one_line() -> None:
    found = Report(Severity.OK, (), (), {}, True, 30.0)
    assert report(found).text == "ok: nothing is wrong (counters were watched for 30 s)\n"


def test_several_of_a_kind_are_counted() -> None:
    found = Report(Severity.ERROR, (ROUTE, ROUTE, NOTE, NOTE), (), {}, True, 0.0)
    assert "error: 2 errors, 2 notes (" in report(found).text


def test_the_json_has_everything_that_the_text_is_made_from() -> None:
    found = Report(Severity.ERROR, (ROUTE,), ("clock_set",), {"samples": "too early"}, False, 600.04)
    data = report(found).data
    assert data == {
        "severity": "error",
        "running": False,
        "watched_s": 600.0,
        "findings": [
            {
                "severity": "error",
                "about": "192.0.2.101",
                "problem": "it answers nothing",
                "evidence": "3 sessions",
                "advice": "Look there.",
                "commands": ("ip route replace 10.9.0.10/32 via 192.0.2.1",),
                "run_on": "192.0.2.101",
                "name": "real_server_silent",
            }
        ],
        "left_out": ["clock_set"],
        "unseen": {"samples": "too early"},
    }
    assert as_text(data) == report(found).text
