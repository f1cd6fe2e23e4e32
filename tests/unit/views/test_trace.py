"""views/trace.py: a trace as text, JSON and server-sent events."""

import json

from appliance.ipc.traced import Change
from appliance.views.trace import items, sent, text_line
from tests.support.traced import BATCH


def test_each_item_is_a_line() -> None:
    shown = "198.51.100.2:40000 > 203.0.113.10:80 [.] seq 1 ack 2 win 64240 len 0"
    assert "".join(map(text_line, items(BATCH, with_data=False))) == (
        "# packets of shard 3 are missing\n"
        f"08:00:00.250000 client drop      no_session (first packet): {shown}\n"
        f"08:00:00.500000 client rewritten to_real_server (session): {shown}\n"
        f"08:00:01.000000 client drop      defence_tcp_drop (kernel rules): {shown}\n"
        "# 7 more packets, too many to show each\n"
    )


def test_bytes_are_in_it_only_when_they_are_wanted() -> None:
    bare, full = (list(items(BATCH, with_data=with_data))[2] for with_data in (False, True))
    assert full == bare | {"data": full["data"], "after": "AQI=", "after_bytes": 99, "own": ["/w=="]}
    assert bare.keys() == {
        "kind", "at_s", "shard", "sender", "stage", "verdict", "reason", "packet", "packet_bytes"
    }  # fmt: skip


def test_what_changes_stands_between_the_packets_by_its_time() -> None:
    changes = [Change(1_800_000_000.5, {"sysctl": {}}), Change(1_800_000_002.0, {"ended": {}})]
    found = list(items(BATCH._replace(changes=changes), with_data=True))
    assert [item["kind"] for item in found] == ["note", "packet", "in-force", "packet", "packet", "in-force", "left-out"]
    assert found[2] == {"kind": "in-force", "at_s": 1_800_000_000.5, "what": {"sysctl": {}}}
    assert text_line(found[2]) == "# has changed, for a replay: sysctl\n"


def test_as_an_event_it_has_its_kind() -> None:
    note = next(items(BATCH, with_data=False))
    assert sent(note) == f"event: note\ndata: {json.dumps(note)}\n\n"
