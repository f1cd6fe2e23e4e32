"""ipc/in_force.py: remarks of captures, from the appliance and from strangers."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.in_force import MARK, InForceError, as_remark, read_remark


def test_what_was_written_is_read_again() -> None:
    what = {"gateway": {"shards": 2}, "down": [["web", "192.0.2.101", 80]]}
    assert as_remark(what) == 'appliance in force 1: {"gateway":{"shards":2},"down":[["web","192.0.2.101",80]]}'
    assert read_remark(as_remark(what)) == what


@pytest.mark.parametrize("text", ["", "Counters provided by dumpcap", "appliance"])
def test_a_remark_of_another_program_is_none_of_ours(text: str) -> None:
    assert read_remark(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("appliance in force 2: {}", "it is of another version: 'appliance in force 2: {}'; this appliance reads version 1"),
        (MARK, "it is not JSON"),
        (MARK + "[" * 100_000, "it is not JSON"),
        (MARK + "9" * 10_000, "it is not JSON"),
        (MARK + "[]", "it is not a JSON object"),
        (MARK + '{"api":{}}', "it has an unknown key: 'api'"),
        (MARK + '{"sysctl":{},"down":[],"\\ud800":1}', "unknown key: '\\ud800'"),
    ],
)
def test_what_is_wrong_with_a_remark_is_said(text: str, words: str) -> None:
    with pytest.raises(InForceError) as raised:
        read_remark(text)
    assert words in str(raised.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InForceError):
        assert isinstance(read_remark(MARK + text), dict)
