"""views/proc.py: the tables letter by letter, and the same numbers as JSON."""

from appliance.ipc.rows import Slab
from appliance.model.counters import HALF_OPEN_DROPPED, STATE_FIELDS
from appliance.model.verdicts import TABLE_FULL
from appliance.views.proc import conntrack, slabinfo, sockstat
from tests.support.gateway import shared_state

SHARDS = [
    [Slab("tcp_conn", 3, 8, 560), Slab("udp_conn", 1, 1, 400), Slab("timer_slot", 2, 4096, 216)],
    [
        Slab("tcp_conn", 2, 2, 560),
        Slab("udp_conn", 0, 0, 400),
        Slab("timer_slot", 2, 4096, 316),
        Slab("tcp_ports:a>b", 2, 500, 9),
    ],
]


def test_slabinfo_adds_up_shards_and_rounds_pages_up() -> None:
    document = slabinfo(SHARDS)
    assert (
        document.text
        == """\
name           active_objs  num_objs  objsize  objperpage  pages
tcp_conn                 5        10      560           7      2
udp_conn                 1         1      400          10      1
timer_slot               4      8192      266          15    532
tcp_ports:a>b            2       500        9         455      2
"""
    )
    assert document.data["tcp_conn"] == {"active_objs": 5, "num_objs": 10, "objsize": 560, "objperpage": 7, "pages": 2}


def test_a_table_that_was_never_used_still_says_how_big_its_objects_are() -> None:
    row = slabinfo([[Slab("udp_conn", 0, 0, 400)]]).data["udp_conn"]
    assert row == {"active_objs": 0, "num_objs": 0, "objsize": 400, "objperpage": 10, "pages": 0}


def test_sockstat_has_the_kernels_lines_for_sessions_and_then_its_own() -> None:
    shared = shared_state(shards=2, destinations=0)
    for shard in (0, 1):
        gauges = shared.table(shard, "states")
        for name, count in {"established": 10, "time_wait": 3, "close": 2, "syn_recv": 1, "udp": 4, "orphan": 5}.items():
            gauges[STATE_FIELDS.index(name)] = count
    host = {"sockets": {"used": 8}, "TCP": {"inuse": 1, "tw": 2}, "FRAG": {"inuse": 3, "memory": 4096}}
    document = sockstat(shared, SHARDS, 2, host)
    assert (
        document.text
        == """\
appliance
sockets: used 40
TCP: inuse 22 orphan 10 tw 6 alloc 32 mem 2 bytes 5600
UDP: inuse 8 mem 1 bytes 400
RAW: inuse 2
FRAG: inuse 3 memory 4096

host
sockets: used 8
TCP: inuse 1 tw 2
FRAG: inuse 3 memory 4096
"""
    )
    assert document.data["appliance"]["TCP"]["orphan"] == 10
    assert document.data["host"] == host


def test_conntrack_is_shown_beside_the_table_of_sessions() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.set_tunables({"conn_max": 5000})
    for shard in (0, 1):
        shared.session_counts[shard] = 6
        shared.table(shard, "verdicts")[TABLE_FULL.index] = 7
        shared.table(shard, "queue")[HALF_OPEN_DROPPED] = 8
    host = {"count": 1, "max": 262144, "buckets": 65536, "drop": 2, "early_drop": 3, "insert_failed": 4}
    document = conntrack(shared, host)
    assert (
        document.text
        == """\
               appliance    host
count                 12       1
max                 5000  262144
buckets                -   65536
drop                  14       2
early_drop            16       3
insert_failed          -       4
"""
    )
    assert document.data == {"appliance": {"count": 12, "max": 5000, "drop": 14, "early_drop": 16}, "host": host}


def test_a_host_without_conntrack_says_so() -> None:
    document = conntrack(shared_state(shards=1, destinations=0), None)
    assert document.text.endswith("this host does not track connections\n")
    assert document.data["host"] is None
