"""top/picture.py: answers of the API's own views become rates and rows."""

from array import array
from collections import Counter

import pytest

from appliance.ipc.rows import LaneState, ShardState
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import ACTIVE_CONNS, CONNS, INACTIVE_CONNS, OPENING_CONNS, QUEUE_FULL_DROPS, SOCKET_DROPS
from appliance.model.rates import Rates
from appliance.model.verdicts import TABLE_FULL
from appliance.top.answers import AnswerError
from appliance.top.picture import (
    ALL,
    ATTACK,
    CLIENTS,
    DROPS,
    EXT,
    HEALTH,
    HEALTHZ,
    LANE,
    QUEUES,
    SERVICES,
    TABLE,
    TRAFFIC,
    Picture,
)
from appliance.views import services as service_views
from appliance.views.attack import attacks as attacks_view
from appliance.views.counters import drops, ext_stats, queues, traffic
from appliance.views.health import real_server_health
from appliance.views.proc import conntrack
from appliance.views.sessions import top
from tests.support.gateway import SERVICES as PLANS
from tests.support.gateway import FakeHealth, attacks, shared_state


class Gateway:
    """Shared memory of two shards that the test writes, and a picture that takes its views."""

    def __init__(self) -> None:
        self.shared: SharedState = shared_state(shards=2, destinations=3)
        self.states = [ShardState(0, True, 100, 1, 0.0, 5.0, 3), ShardState(1, False, None, 4)]
        self.down = frozenset[int]()
        self.drained: tuple[int, ...] = ()
        self.picture = Picture()

    def move(self, row: int, slot: int, **counts: int) -> None:
        """Packets and sessions of a shard or the lane for a real server."""
        places = {"in_packets": 0, "out_packets": 1, "in_bytes": 2, "out_bytes": 3, "conns": CONNS}
        places |= {"active": ACTIVE_CONNS, "inactive": INACTIVE_CONNS, "opening": OPENING_CONNS}
        for name, count in counts.items():
            self.shared.destination(row, slot)[places[name]] += count

    def look(self, at_s: float, *paths: str) -> None:
        """Take the answers to these paths at a moment."""
        made = {
            SERVICES: lambda: service_views.services(self.shared, PLANS, self.down, self.drained).data,
            TRAFFIC: lambda: traffic(self.shared, Rates()).data,
            QUEUES: lambda: queues(self.shared).data,
            DROPS: lambda: drops(self.shared).data,
            HEALTHZ: lambda: service_views.health(self.states, lane=LaneState("on", "")).data,
            HEALTH: lambda: real_server_health(FakeHealth().services, ()).data,
            TABLE: lambda: conntrack(self.shared, None).data,
            ATTACK: lambda: attacks_view(attacks().under_way.values(), attacks().ended).data,
            CLIENTS: lambda: top("client", Counter({"198.51.100.7": 30, "198.51.100.8": 10}), 1).data,
        }
        for path in paths:
            self.picture.take(path, at_s, made[path]())


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_a_service_has_the_rates_of_all_its_real_servers_in_all_shards_and_the_lane(gateway: Gateway) -> None:
    gateway.look(1.0, SERVICES)
    gateway.move(0, 0, in_packets=2, in_bytes=100, conns=6)
    gateway.move(1, 1, out_packets=4, out_bytes=900, active=5, inactive=3, opening=2)
    gateway.move(gateway.shared.lane, 1, in_packets=10, out_packets=4, in_bytes=1000, out_bytes=100)
    gateway.move(0, 2, in_packets=1)
    gateway.look(3.0, SERVICES)
    web, names = gateway.picture.service_rows()
    assert (web.name, web.endpoint, web.servers_up, web.servers) == ("web", "TCP 203.0.113.10:80", 2, 2)
    assert (web.new_per_s, web.packets_per_s, web.in_bits_per_s, web.out_bits_per_s) == (3.0, 10.0, 4400.0, 4000.0)
    assert (web.sessions, web.half_open, web.carried) == (8, 2, 0.7)
    assert web.trend == [None, 10.0]
    assert (names.packets_per_s, names.carried) == (0.5, 0.0)


def test_a_service_that_answers_with_cookies_says_so() -> None:
    picture, row = Picture(), {"name": "web", "protocol": "TCP", "vip": "203.0.113.10", "port": 80, "real_servers": []}
    words = [("auto", True), ("auto", False), ("always", True), ("never", False)]
    picture.take(SERVICES, 1.0, {"services": [row | {"synproxy": word, "engaged": engaged} for word, engaged in words]})
    assert [service.cookies for service in picture.service_rows()] == ["engaged", "", "always", ""]


def test_real_servers_have_their_state_weight_and_last_answer(gateway: Gateway) -> None:
    gateway.down, gateway.drained = frozenset({1}), (0,)
    gateway.look(1.0, SERVICES, HEALTH)
    gateway.move(0, 0, conns=8, active=2)
    gateway.look(2.0, SERVICES, HEALTH)
    first, second, other = gateway.picture.server_rows()
    assert (first.endpoint, first.state, first.weight, first.sessions) == ("192.0.2.101:8080", "drained", 0, 2)
    assert (first.new_per_s, first.since_s, first.reason) == (8.0, 12.34, "connected in 0.5 ms")
    assert (second.state, second.reason) == ("down", "refused")
    assert (other.service, other.state, other.since_s, other.reason) == ("names", "up", None, "")


def test_shards_the_lane_and_all_together(gateway: Gateway) -> None:
    gateway.look(1.0, TRAFFIC, HEALTHZ, QUEUES)
    gateway.move(0, 0, conns=2, in_packets=6, in_bytes=50)
    gateway.move(gateway.shared.lane, 0, in_packets=10, out_packets=20, out_bytes=1000)
    gateway.shared.table(0, "queue")[QUEUE_FULL_DROPS] = 3
    gateway.shared.table(0, "queue")[SOCKET_DROPS] = 1
    gateway.states[0] = gateway.states[0]._replace(cpu_s=6.0)
    gateway.look(3.0, TRAFFIC, HEALTHZ, QUEUES)
    first, second, lane, whole = gateway.picture.shard_rows()
    assert (first.name, first.state, first.waiting, first.starts) == ("0", "up", 3, 1)
    assert (first.new_per_s, first.packets_per_s, first.in_bits_per_s, first.dropped_per_s, first.cpu) == (
        1.0,
        3.0,
        200.0,
        2.0,
        0.5,
    )
    assert (second.state, second.cpu, second.waiting, second.starts, second.dropped_per_s) == ("down", None, None, 4, 0.0)
    assert (lane.name, lane.state, lane.packets_per_s, lane.out_bits_per_s) == (LANE, "on", 15.0, 4000.0)
    assert (whole.name, whole.packets_per_s, whole.new_per_s) == (ALL, 18.0, 1.0)
    assert gateway.picture.summary.carried == 15 / 18


def test_cpu_time_of_the_next_worker_begins_anew(gateway: Gateway) -> None:
    gateway.look(1.0, TRAFFIC, HEALTHZ)
    gateway.states[0] = gateway.states[0]._replace(cpu_s=0.5, starts=2)
    gateway.look(2.0, TRAFFIC, HEALTHZ)
    assert gateway.picture.shard_rows()[0].cpu is None


def test_after_a_restart_nothing_is_negative_and_rates_come_back(gateway: Gateway) -> None:
    gateway.move(0, 0, conns=1000, in_packets=5000)
    gateway.look(1.0, TRAFFIC, SERVICES)
    gateway.look(2.0, TRAFFIC, SERVICES)
    gateway.shared.destination(0, 0)[:5] = array("Q", [0] * 5)
    gateway.look(9.0, TRAFFIC, SERVICES)
    assert [gateway.picture.summary.packets_per_s, gateway.picture.service_rows()[0].packets_per_s] == [None, None]
    gateway.move(0, 0, in_packets=5)
    gateway.look(10.0, TRAFFIC, SERVICES)
    assert gateway.picture.summary.packets_per_s == 5.0
    assert gateway.picture.summary.trend == [None, 0.0, None, 5.0]


def test_drops_by_reason_are_those_of_verdicts_and_those_of_the_kernel(gateway: Gateway) -> None:
    gateway.shared.table(0, "queue")[QUEUE_FULL_DROPS] = 5
    gateway.look(1.0, DROPS, QUEUES)
    gateway.shared.table(0, "verdicts")[TABLE_FULL.index] += 3
    gateway.shared.table(1, "verdicts")[TABLE_FULL.index] += 1
    gateway.look(3.0, DROPS, QUEUES)
    rows = {row.reason: row for row in gateway.picture.drop_rows()}
    assert rows.keys() == {TABLE_FULL.name, "queue_full_drops"}, "what never happened is no row"
    assert (rows[TABLE_FULL.name].per_s, rows[TABLE_FULL.name].total) == (2.0, 4)
    assert rows[TABLE_FULL.name].meaning == TABLE_FULL.summary
    assert (rows["queue_full_drops"].per_s, rows["queue_full_drops"].total) == (0.0, 5)


def test_what_the_kernel_dropped_before_a_worker_saw_it_is_a_reason_too(gateway: Gateway) -> None:
    for second, dropped in ((1.0, 0), (2.0, 10), (4.0, 50)):
        gateway.picture.take(EXT, second, ext_stats(gateway.shared, {"defence_ip_frag_drop": dropped}).data)
    (row,) = gateway.picture.drop_rows()
    assert (row.reason, row.per_s, row.total) == ("defence_ip_frag_drop", 20.0, 50)
    assert "fragments" in row.meaning


def test_clients_sessions_and_attacks(gateway: Gateway) -> None:
    gateway.shared.session_counts[0] = 40
    gateway.look(1.0, CLIENTS, TABLE, ATTACK)
    (client,) = gateway.picture.client_rows()
    assert client == ("198.51.100.7", 30, 0.75)
    assert gateway.picture.clients.different == 2
    assert gateway.picture.summary.sessions == 40
    assert [attack.kind for attack in gateway.picture.attacks] == ["fragment_flood"]
    assert gateway.picture.attacks[0].peak_per_s == 2500.0


@pytest.mark.parametrize("path", [HEALTHZ, TRAFFIC, TABLE, ATTACK, SERVICES, QUEUES, HEALTH, DROPS, CLIENTS])
def test_what_is_no_answer_is_refused_and_changes_nothing(path: str, gateway: Gateway) -> None:
    gateway.look(1.0, path)
    before = vars(gateway.picture)
    with pytest.raises(AnswerError):
        gateway.picture.take(path, 2.0, ["web"])
    assert vars(gateway.picture) == before
