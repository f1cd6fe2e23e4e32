"""control.py: what is written is what is read, however the bytes are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.messages import LineReader, decode_plan, encode, encode_plan
from tests.support.world import plan

messages_st = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8), max_size=3), max_size=5)


def test_a_plan_survives_the_line() -> None:
    before = plan(weights=(100, 0), shard=1, shards=4)
    (message,) = LineReader().feed(encode_plan(before))
    assert decode_plan(message) == before


@given(messages_st, st.data())
def test_messages_come_out_whole_however_they_are_cut(messages: list[dict[str, object]], data: st.DataObject) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = LineReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += list(reader.feed(stream[start:end]))
    assert found == messages


@pytest.mark.parametrize("line", [b"[]\n", b"1\n", b"nonsense\n"])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, json.JSONDecodeError)):
        list(LineReader().feed(line))
