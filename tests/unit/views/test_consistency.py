"""views/consistency.py: what shards have found, added up, letter by letter."""

from appliance.ipc.rows import Consistency
from appliance.views.consistency import consistency

SOUND = Consistency(
    {"192.0.2.101:8080": {"in_use": 3, "resting": 5}, "192.0.2.102:8080": {"in_use": 1, "resting": 0}},
    700,
    {"used": 9, "without_client": 2, "free": 91},
    18,
    0,
    [],
)
UNSOUND = Consistency(
    {"192.0.2.101:8080": {"in_use": 2, "resting": 1}},
    50,
    {"used": 3, "without_client": 1, "free": 97},
    5,
    2,
    ["shard 1: a", "shard 1: b"],
)


def test_shards_are_added_up() -> None:
    document = consistency([SOUND, UNSOUND])
    assert (
        document.text
        == """\
wrong: 2
shard 1: a
shard 1: b
entries: 12 used, 3 of them without their client, 188 free
flows: 23
local endpoints: 750 free
real server       in_use  resting
192.0.2.101:8080       5        6
192.0.2.102:8080       1        0
"""
    )
    assert document.data["real_servers"]["192.0.2.101:8080"] == {"in_use": 5, "resting": 6}
    assert (document.data["wrong"], document.data["problems"]) == (2, ["shard 1: a", "shard 1: b"])


def test_without_sessions_there_is_no_table() -> None:
    document = consistency([Consistency({}, 0, {"used": 0, "without_client": 0, "free": 0}, 0, 0, [])])
    assert (
        document.text == "wrong: 0\nentries: 0 used, 0 of them without their client, 0 free\nflows: 0\nlocal endpoints: 0 free\n"
    )
