"""views/counters.py: the tables letter by letter, and the same numbers as JSON."""

from array import array

from appliance.ipc.shared_layout import TRAFFIC_FIELDS, totals
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS
from appliance.model.rates import Rates
from appliance.model.verdicts import NO_REAL_SERVER, TO_CLIENT, TRUNCATED
from appliance.views import counters
from tests.support.gateway import fill_destinations, shared_state


def test_ext_stats_has_a_column_for_each_shard_one_for_the_lane_one_for_the_kernel_and_a_total() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(0, "ext")[0] = 120
    shared.table(1, "ext")[0] = 98
    shared.table(1, "ext")[26] = 2
    shared.table(shared.lane, "ext")[0] = 4
    assert (
        counters.ext_stats(shared, {"defence_udp_drop": 5}).text
        == """\
counter                            shard0  shard1  lane  kernel  total
fullnat_add_toa_ok                    120      98     4       0    222
fullnat_add_toa_fail_len                0       0     0       0      0
fullnat_add_toa_fail_mem                0       0     0       0      0
fullnat_add_toa_fail_proto              0       0     0       0      0
fullnat_conn_reused                     0       0     0       0      0
fullnat_conn_reused_close               0       0     0       0      0
fullnat_conn_reused_timewait            0       0     0       0      0
fullnat_conn_reused_finwait             0       0     0       0      0
fullnat_conn_reused_closetimeout        0       0     0       0      0
fullnat_conn_reused_lastack             0       0     0       0      0
fullnat_conn_reused_estab               0       0     0       0      0
synproxy_rs_error                       0       0     0       0      0
synproxy_null_ack                       0       0     0       0      0
synproxy_bad_ack                        0       0     0       0      0
synproxy_ok_ack                         0       0     0       0      0
synproxy_syn_cnt                        0       0     0       0      0
synproxy_ack_storm                      0       0     0       0      0
synproxy_synsent_qlen                   0       0     0       0      0
synproxy_conn_reused                    0       0     0       0      0
synproxy_conn_reused_close              0       0     0       0      0
synproxy_conn_reused_timewait           0       0     0       0      0
synproxy_conn_reused_finwait            0       0     0       0      0
synproxy_conn_reused_closetimeout       0       0     0       0      0
synproxy_conn_reused_lastack            0       0     0       0      0
defence_ip_frag_drop                    0       0     0       0      0
defence_tcp_drop                        0       0     0       0      0
defence_udp_drop                        0       2     0       5      7
"""
    )


def test_a_column_is_as_wide_as_its_widest_number() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(1, "ext")[0] = 2**64 - 1
    head, first, second, *_ = counters.ext_stats(shared, {}).text.splitlines()
    assert head == "counter                            shard0                shard1  lane  kernel                 total"
    assert first == "fullnat_add_toa_ok                      0  18446744073709551615     0       0  18446744073709551615"
    assert second == "fullnat_add_toa_fail_len                0                     0     0       0                     0"


def test_ext_stats_data_holds_the_same_numbers() -> None:
    shared = shared_state(shards=2, destinations=0)
    for place in range(len(EXT_COUNTERS)):
        shared.table(0, "ext")[place] = place
        shared.table(1, "ext")[place] = 100 * place
        shared.table(shared.lane, "ext")[place] = 1000 * place
    kernel = {"defence_ip_frag_drop": 7}
    data = counters.ext_stats(shared, kernel).data
    assert list(data) == [counter.name for counter in EXT_COUNTERS]
    assert len(data) == 27
    for place, (name, row) in enumerate(data.items()):
        more = kernel.get(name, 0)
        assert row == {
            "total": 1101 * place + more,
            "shards": [place, 100 * place],
            "lane": 1000 * place,
            "kernel": more,
        }


def test_one_ext_counter_is_its_total_alone() -> None:
    shared = shared_state(shards=2, destinations=0)
    shared.table(0, "ext")[11] = 3
    shared.table(1, "ext")[11] = 4
    document = counters.ext_stat(shared, {"synproxy_rs_error": 5}, "synproxy_rs_error")
    assert document.text == "12\n"
    assert document.data == {"name": "synproxy_rs_error", "total": 12, "shards": [3, 4], "lane": 0, "kernel": 5}


def test_drops_lists_every_reason_but_no_translated_packet() -> None:
    shared = shared_state(shards=1, destinations=0)
    counts = shared.table(0, "verdicts")
    for place in range(len(VERDICT_COUNTERS)):
        counts[place] = 1000 + place
    data = counters.drops(shared).data
    number = 1000 + NO_REAL_SERVER.index
    assert data[NO_REAL_SERVER.name] == {"total": number, "shards": [number], "lane": 0}
    assert {"no_real_server", "no_local_address", "local_ports_exhausted", "truncated", "fragment"} <= set(data)
    assert set(data).isdisjoint({"to_real_server", "to_client", "icmp_translated"})
    lines = counters.drops(shared).text.splitlines()
    assert [line.split()[0] for line in lines] == ["counter", *data]
    assert f"truncated                {1000 + TRUNCATED.index}     0   {1000 + TRUNCATED.index}" in lines
    assert not any(str(1000 + TO_CLIENT.index) in line for line in lines)


def test_queues() -> None:
    shared = shared_state(shards=2, destinations=0)
    for place in range(len(QUEUE_COUNTERS)):
        shared.table(0, "queue")[place] = place
        shared.table(1, "queue")[place] = 1
    assert (
        counters.queues(shared).text
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
new_connections_reset      14       1     15
backlog_dropped            15       1     16
unconfirmed_dropped        16       1     17
time_wait_ports_taken      17       1     18
forged_source_drops        18       1     19
direct_access_drops        19       1     20
forged_client_options      20       1     21
lane_full                  21       1     22
sessions_adopted           22       1     23
records_refused            23       1     24
sessions_unserved          24       1     25
persistence_hits           25       1     26
persistence_displaced      26       1     27
sessions_of_down           27       1     28
denied_drops               28       1     29
not_allowed_drops          29       1     30
client_rate_drops          30       1     31
service_rate_drops         31       1     32
limits_dropped             32       1     33
beyond_client_limit        33       1     34
clients_uncounted          34       1     35
access_sets_mended         35       1     36
tickets_returned           36       1     37
sessions_short             37       1     38
"""
    )


def test_totals_sum_over_real_servers_in_the_order_of_the_columns() -> None:
    # Three slots sum to 3000 * (shard + 1) + 300, and three times the place of the field; conns is field 4.
    shared = fill_destinations(shards=2)
    shared.destination(shared.lane, 2)[:4] = memoryview(array("Q", [5, 6, 7, 8]))
    assert totals(shared) == [[3312, 3300, 3303, 3306, 3309], [6312, 6300, 6303, 6306, 6309], [0, 5, 6, 7, 8]]


def test_traffic_shows_totals_and_rates() -> None:
    rates = Rates(((1.0, 10.04, 8.0, 5000.0, 40000.25), (2.0, 20.04, 16.0, 10000.0, 80000.5), (0.0, 100.0, 0.0, 0.0, 0.0)))
    shared = fill_destinations(shards=2)
    shared.destination(shared.lane, 0)[0] = 10**6
    document = counters.traffic(shared, rates)
    assert (
        document.text
        == """\
counter      shard0  shard1     lane    total
conns          3312    6312        0     9624
in_packets     3300    6300  1000000  1009600
out_packets    3303    6303        0     9606
in_bytes       3306    6306        0     9612
out_bytes      3309    6309        0     9618

rate            shard0   shard1   lane     total
conns/s            1.0      2.0    0.0       3.0
in_packets/s      10.0     20.0  100.0     130.0
out_packets/s      8.0     16.0    0.0      24.0
in_bytes/s      5000.0  10000.0    0.0   15000.0
out_bytes/s    40000.2  80000.5    0.0  120000.7
"""
    )
    assert document.data["totals"]["in_packets"] == {"total": 1009600, "shards": [3300, 6300], "lane": 1000000}
    assert document.data["per_second"]["out_bytes"] == {"total": 120000.7, "shards": [40000.2, 80000.5], "lane": 0.0}
    assert list(document.data["totals"]) == list(document.data["per_second"]) == list(TRAFFIC_FIELDS)


def test_traffic_before_the_first_sample_has_no_rate() -> None:
    data = counters.traffic(shared_state(shards=2, destinations=3), Rates()).data
    assert data["per_second"]["conns"] == {"total": 0.0, "shards": [0.0, 0.0], "lane": 0.0}
