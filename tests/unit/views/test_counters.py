"""views.py: the tables as people see them, letter by letter, and the same numbers as JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from appliance import __version__
from appliance.ipc.rows import ShardState
from appliance.ipc.shared_layout import TRAFFIC_FIELDS, SharedState, totals
from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS
from appliance.model.rates import Rates
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import NO_REAL_SERVER, TO_CLIENT, TRUNCATED
from appliance.views import counters as views
from tests.support.gateway import SERVICES, shared_state


def test_ext_stats_has_a_column_for_each_shard_one_for_the_kernel_and_a_total() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(0, "ext")[0] = 120
    shared.table(1, "ext")[0] = 98
    shared.table(1, "ext")[26] = 2
    assert (
        views.ext_stats(shared, {"defence_udp_drop": 5}).text
        == """\
counter                            shard0  shard1  kernel  total
fullnat_add_toa_ok                    120      98       0    218
fullnat_add_toa_fail_len                0       0       0      0
fullnat_add_toa_fail_mem                0       0       0      0
fullnat_add_toa_fail_proto              0       0       0      0
fullnat_conn_reused                     0       0       0      0
fullnat_conn_reused_close               0       0       0      0
fullnat_conn_reused_timewait            0       0       0      0
fullnat_conn_reused_finwait             0       0       0      0
fullnat_conn_reused_closetimeout        0       0       0      0
fullnat_conn_reused_lastack             0       0       0      0
fullnat_conn_reused_estab               0       0       0      0
synproxy_rs_error                       0       0       0      0
synproxy_null_ack                       0       0       0      0
synproxy_bad_ack                        0       0       0      0
synproxy_ok_ack                         0       0       0      0
synproxy_syn_cnt                        0       0       0      0
synproxy_ack_storm                      0       0       0      0
synproxy_synsent_qlen                   0       0       0      0
synproxy_conn_reused                    0       0       0      0
synproxy_conn_reused_close              0       0       0      0
synproxy_conn_reused_timewait           0       0       0      0
synproxy_conn_reused_finwait            0       0       0      0
synproxy_conn_reused_closetimeout       0       0       0      0
synproxy_conn_reused_lastack            0       0       0      0
defence_ip_frag_drop                    0       0       0      0
defence_tcp_drop                        0       0       0      0
defence_udp_drop                        0       2       5      7
"""
    )


def test_a_column_is_as_wide_as_its_widest_number() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(1, "ext")[0] = 2**64 - 1
    head, first, second, *_ = views.ext_stats(shared, {}).text.splitlines()
    assert head == "counter                            shard0                shard1  kernel                 total"
    assert first == "fullnat_add_toa_ok                      0  18446744073709551615       0  18446744073709551615"
    assert second == "fullnat_add_toa_fail_len                0                     0       0                     0"


def test_ext_stats_data_holds_the_same_numbers() -> None:
    shared = shared_state(shards=2, destinations=0)
    for place in range(len(EXT_COUNTERS)):
        shared.table(0, "ext")[place] = place
        shared.table(1, "ext")[place] = 100 * place
    kernel = {"defence_ip_frag_drop": 7}
    data = views.ext_stats(shared, kernel).data
    assert list(data) == [counter.name for counter in EXT_COUNTERS]
    assert len(data) == 27
    for place, (name, row) in enumerate(data.items()):
        more = kernel.get(name, 0)
        assert row == {"total": 101 * place + more, "shards": [place, 100 * place], "kernel": more}


def test_one_ext_counter_is_its_total_alone() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(0, "ext")[11] = 3
    shared.table(1, "ext")[11] = 4
    document = views.ext_stat(shared, {"synproxy_rs_error": 5}, "synproxy_rs_error")
    assert document.text == "12\n"
    assert document.data == {"name": "synproxy_rs_error", "total": 12, "shards": [3, 4], "kernel": 5}


def test_sysctls_show_the_value_in_force_beside_its_default() -> None:
    shared = shared_state(shards=1, destinations=0)
    shared.set_tunables({"tcp_timeout_established": 600_000})
    lines = views.sysctls(shared).text.splitlines()
    assert len(lines) == 1 + len(TUNABLES)
    assert lines[0].split() == ["name", "value", "default", "range", "unit", "summary"]
    assert lines[1] == (
        "fullnat_timestamp_remove_entry        1        1  0..1           -         "
        "take the TCP timestamp option off the SYN that goes to a real server"
    )
    established = lines[1 + list(TUNABLES).index("tcp_timeout_established")]
    assert established == (
        "tcp_timeout_established          600000   900000  1000..1800000  ms        idle time of a session in ESTABLISHED"
    )


def test_every_tunable_is_in_the_sysctl_data_with_all_its_traits() -> None:
    shared = shared_state(shards=1, destinations=0)
    data = views.sysctls(shared).data
    assert list(data) == list(TUNABLES)
    for name, tunable in TUNABLES.items():
        assert data[name] == {
            "value": tunable.default,
            "default": tunable.default,
            "min": tunable.min,
            "max": tunable.max,
            "unit": tunable.unit,
            "summary": tunable.summary,
        }


def test_one_sysctl_is_its_value_alone() -> None:
    shared = shared_state(shards=1, destinations=0)
    document = views.sysctl(shared, "synproxy_synack_ttl")
    assert document.text == "63\n"
    assert document.data == {"name": "synproxy_synack_ttl"} | views.sysctls(shared).data["synproxy_synack_ttl"]


def test_drops_lists_every_reason_but_no_translated_packet() -> None:
    shared = shared_state(shards=1, destinations=0)
    counts = shared.table(0, "verdicts")
    for place in range(len(VERDICT_COUNTERS)):
        counts[place] = 1000 + place
    data = views.drops(shared).data
    assert data[NO_REAL_SERVER.name] == {"total": 1000 + NO_REAL_SERVER.index, "shards": [1000 + NO_REAL_SERVER.index]}
    assert {"no_real_server", "no_local_address", "local_ports_exhausted", "truncated", "fragment"} <= set(data)
    assert set(data).isdisjoint({"to_real_server", "to_client", "icmp_translated"})
    lines = views.drops(shared).text.splitlines()
    assert [line.split()[0] for line in lines] == ["counter", *data]
    assert f"truncated                {1000 + TRUNCATED.index}   {1000 + TRUNCATED.index}" in lines
    assert not any(str(1000 + TO_CLIENT.index) in line for line in lines)


def test_queues() -> None:
    shared = shared_state(shards=2, destinations=0)
    for place in range(len(QUEUE_COUNTERS)):
        shared.table(0, "queue")[place] = place
        shared.table(1, "queue")[place] = 1
    assert (
        views.queues(shared).text
        == """\
counter                shard0  shard1  total
queue_full_drops            0       1      1
socket_drops                1       1      2
emit_errors                 2       1      3
sessions_expired            3       1      4
worker_starts               4       1      5
half_open_dropped           5       1      6
time_wait_overflows         6       1      7
sessions_cut                7       1      8
syncookies_engaged          8       1      9
syncookies_disengaged       9       1     10
handshakes_failed          10       1     11
handshakes_abandoned       11       1     12
sessions_replaced          12       1     13
sessions_of_removed        13       1     14
"""
    )


def fill_destinations(shards: int) -> SharedState:
    """Counters that differ everywhere: thousands are the shard, hundreds the slot, units the field."""
    shared = shared_state(shards, destinations=3)
    for shard in range(shards):
        for slot in range(3):
            for place in range(len(DESTINATION_FIELDS)):
                shared.destination(shard, slot)[place] = 1000 * (shard + 1) + 100 * slot + place
    return shared


def test_totals_sum_over_real_servers_in_the_order_of_the_columns() -> None:
    # Three slots sum to 3000 * (shard + 1) + 300, and three times the place of the field; conns is field 4.
    assert totals(fill_destinations(shards=2)) == [[3312, 3300, 3303, 3306, 3309], [6312, 6300, 6303, 6306, 6309]]


def test_traffic_shows_totals_and_rates() -> None:
    rates = Rates(((1.0, 10.04, 8.0, 5000.0, 40000.25), (2.0, 20.04, 16.0, 10000.0, 80000.5)))
    document = views.traffic(fill_destinations(shards=2), rates)
    assert (
        document.text
        == """\
counter      shard0  shard1  total
conns          3312    6312   9624
in_packets     3300    6300   9600
out_packets    3303    6303   9606
in_bytes       3306    6306   9612
out_bytes      3309    6309   9618

rate            shard0   shard1     total
conns/s            1.0      2.0       3.0
in_packets/s      10.0     20.0      30.0
out_packets/s      8.0     16.0      24.0
in_bytes/s      5000.0  10000.0   15000.0
out_bytes/s    40000.2  80000.5  120000.7
"""
    )
    assert document.data["totals"]["conns"] == {"total": 9624, "shards": [3312, 6312]}
    assert document.data["per_second"]["out_bytes"] == {"total": 120000.7, "shards": [40000.2, 80000.5]}
    assert list(document.data["totals"]) == list(document.data["per_second"]) == list(TRAFFIC_FIELDS)


def test_traffic_before_the_first_sample_has_no_rate() -> None:
    data = views.traffic(shared_state(shards=2, destinations=3), Rates()).data
    assert data["per_second"]["conns"] == {"total": 0.0, "shards": [0.0, 0.0]}


def test_services_look_as_ipvsadm_prints_them() -> None:
    assert (
        views.services(fill_destinations(shards=2), SERVICES).text
        == f"""\
IP Virtual Server version {__version__} (shards=2)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  203.0.113.10:80 rr
  -> 192.0.2.101:8080             FullNat 100    3010       3012
  -> 192.0.2.102:8080             FullNat 0      3210       3212
UDP  203.0.113.10:80 rr
  -> 192.0.2.101:53               FullNat 1      3410       3412
"""
    )


def test_services_data() -> None:
    data = views.services(fill_destinations(shards=2), SERVICES).data
    web, names = data["services"]
    assert web["name"] == "web"
    assert (web["protocol"], web["vip"], web["port"], web["scheduler"]) == ("TCP", "203.0.113.10", 80, "rr")
    assert (names["protocol"], names["vip"], names["port"]) == ("UDP", "203.0.113.10", 80), "its own, on the same VIP and port"
    assert web["local_addresses"] == ["192.0.2.10", "192.0.2.11"]
    assert web["real_servers"][1] == {
        "address": "192.0.2.102",
        "port": 8080,
        "forward": "FullNat",
        "weight": 0,
        "in_packets": 3200,
        "out_packets": 3202,
        "in_bytes": 3204,
        "out_bytes": 3206,
        "conns": 3208,
        "active_conns": 3210,
        "inactive_conns": 3212,
    }


def test_health_names_the_shards_that_are_down() -> None:
    states = [ShardState(0, True, 100, 1), ShardState(1, False, None, 4), ShardState(2, False, None, 2)]
    document = views.health(states)
    assert document.text == "shard1 is down (started 4 times)\nshard2 is down (started 2 times)\n"
    assert document.data["status"] == "down"
    assert document.data["shards"][1] == {"shard": 1, "up": False, "pid": None, "starts": 4}
    assert views.health(states[:1]).text == "ok\n"
    assert views.health(states[:1]).data["status"] == "ok"


def test_index() -> None:
    document = views.index([("/", "GET", "this list"), ("/sysctl/{name}", "GET, PUT", "one")])
    assert (
        document.text
        == """\
path            methods   summary
/               GET       this list
/sysctl/{name}  GET, PUT  one
"""
    )
    assert document.data[1] == {"path": "/sysctl/{name}", "methods": "GET, PUT", "summary": "one"}


cells = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1))
def test_align_loses_no_cell_and_keeps_columns_in_line(rows: list[tuple[str, str, str]]) -> None:
    lines = views.align("<>>", rows).splitlines()
    assert [tuple(line.split()) for line in lines] == rows
    assert len({len(line) for line in lines}) == 1


def test_json_is_one_line() -> None:
    line = views.to_json({"a": [1, 2]})
    assert line.count("\n") == 1
    assert json.loads(line) == {"a": [1, 2]}
