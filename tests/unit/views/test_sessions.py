"""views_conns.py: sessions and their tables as people see them, letter by letter, and the same numbers as JSON."""

from collections import Counter

from appliance.ipc.rows import Slab
from appliance.model.counters import HALF_OPEN_DROPPED, STATE_FIELDS
from appliance.model.verdicts import TABLE_FULL
from appliance.views import sessions as session_views
from tests.support.gateway import SESSION, UDP_SESSION, shared_state

SHARDS = [
    [Slab("tcp_conn", 3, 8, 560), Slab("udp_conn", 1, 1, 400), Slab("timer_slot", 2, 4096, 216)],
    [
        Slab("tcp_conn", 2, 2, 560),
        Slab("udp_conn", 0, 0, 400),
        Slab("timer_slot", 2, 4096, 316),
        Slab("tcp_ports:a>b", 2, 500, 9),
    ],
]


def test_sessions_look_as_ipvsadm_prints_them_with_the_local_address() -> None:
    longest = SESSION._replace(client="255.255.255.255:65535", state="CLOSE_WAIT", expires_s=59.999)
    document = session_views.page((SESSION, longest, UDP_SESSION))
    assert (
        document.text
        == """\
IPVS connection entries
pro expire state       source                virtual               local                 destination
TCP 14:59  ESTABLISHED 198.51.100.2:40000    203.0.113.10:80       192.0.2.10:5000       192.0.2.101:8080
TCP 00:59  CLOSE_WAIT  255.255.255.255:65535 203.0.113.10:80       192.0.2.10:5000       192.0.2.101:8080
UDP 05:00  UDP         198.51.100.2:40000    203.0.113.10:80       192.0.2.10:5000       192.0.2.101:53
"""
    )
    assert document.data[0] == {
        "protocol": "TCP",
        "expires_s": 899.999,
        "state": "ESTABLISHED",
        "source": "198.51.100.2:40000",
        "virtual": "203.0.113.10:80",
        "local": "192.0.2.10:5000",
        "destination": "192.0.2.101:8080",
        "service": "web",
    }
    assert document.data[2]["protocol"] == "UDP"


def test_top_is_sorted_by_count_then_by_name_and_knows_what_it_leaves_out() -> None:
    counts = Counter({"198.51.100.9": 5, "198.51.100.10": 5, "198.51.100.3": 1200, "198.51.100.4": 1})
    document = session_views.top("client", counts, 3)
    assert (
        document.text
        == """\
conns  client
 1200  198.51.100.3
    5  198.51.100.10
    5  198.51.100.9
"""
    )
    assert document.data == {
        "by": "client",
        "conns": 1211,
        "different": 4,
        "top": [
            {"client": "198.51.100.3", "conns": 1200},
            {"client": "198.51.100.10", "conns": 5},
            {"client": "198.51.100.9", "conns": 5},
        ],
    }
    assert session_views.top("service", Counter(), 3).text == "conns  service\n"


def test_slabinfo_adds_up_shards_and_rounds_pages_up() -> None:
    document = session_views.slabinfo(SHARDS)
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
    row = session_views.slabinfo([[Slab("udp_conn", 0, 0, 400)]]).data["udp_conn"]
    assert row == {"active_objs": 0, "num_objs": 0, "objsize": 400, "objperpage": 10, "pages": 0}


def test_sockstat_has_the_kernels_lines_for_sessions_and_then_its_own() -> None:
    shared = shared_state(shards=2, destinations=0)
    for shard in (0, 1):
        gauges = shared.table(shard, "states")
        for name, count in {"established": 10, "time_wait": 3, "close": 2, "syn_recv": 1, "udp": 4, "orphan": 5}.items():
            gauges[STATE_FIELDS.index(name)] = count
    host = {"sockets": {"used": 8}, "TCP": {"inuse": 1, "tw": 2}, "FRAG": {"inuse": 3, "memory": 4096}}
    document = session_views.sockstat(shared, SHARDS, 2, host)
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
    document = session_views.conntrack(shared, host)
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
    document = session_views.conntrack(shared_state(shards=1, destinations=0), None)
    assert document.text.endswith("this host does not track connections\n")
    assert document.data["host"] is None
