"""The sessions benchmark: its command line, its crowd of sessions, its table; and all of it once, with few sessions."""

import gc

import pytest

from appliance.model.tcp_state import TcpState
from appliance.state.session import Session
from appliance.wire.flow import Direction, source_of
from bench.rig.machine import Machine
from bench.sessions.__main__ import COUNT_MIN
from bench.sessions.__main__ import parse as parse_options
from bench.sessions.crowd import SESSIONS_MAX, Crowd, Pauses, as_in_a_worker, client_key, picked
from bench.sessions.figures import CHURN, FEW, QUICK, THOROUGH, Effort, Figures, measure
from bench.sessions.report import ROWS, as_text

MACHINE = Machine("6.1.0", "a CPU", 2, "3.11.2", 0.1)


# the command line


def test_the_quick_run_has_fewer_sessions_and_packets() -> None:
    quick, thorough = parse_options(["--quick"]), parse_options([])
    assert max(quick.counts) < max(thorough.counts)
    assert all(few < many for few, many in zip(QUICK, THOROUGH, strict=True))


def test_counts_can_be_chosen() -> None:
    assert parse_options(["--counts", "1000,500,1000", "--quick"]).counts == (1000, 500)


@pytest.mark.parametrize("counts", ["", "1000,", "many", "-1000", "1e6", "1_000", str(COUNT_MIN - 1), str(SESSIONS_MAX + 1)])
def test_wrong_counts_are_refused(counts: str) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--counts", counts])


# the crowd


def test_every_session_has_a_client_of_its_own() -> None:
    last = SESSIONS_MAX + SESSIONS_MAX // CHURN - 1
    numbers = [*range(2000), last - 1, last]
    ends = {source_of(client_key(number)) for number in numbers}
    assert len(ends) == len(numbers)
    assert len({end[:4] for end in ends}) == 254, "many addresses"
    assert all(end[:3] == bytes((198, 51, 100)) and int.from_bytes(end[4:], "big") >= 1024 for end in ends)


def conn_of(crowd: Crowd, number: int) -> Session:
    session, direction = crowd.shard._sessions.tcp.find(client_key(number))
    assert session is not None
    assert direction == Direction.INBOUND
    return session


def test_sessions_are_established_and_their_opening_is_over() -> None:
    crowd = Crowd(50)
    crowd.open(range(50))
    assert len(crowd) == 50
    for number in range(50):
        session = conn_of(crowd, number)
        assert (session.state, session.opening, session.needs_slow_path) == (TcpState.ESTABLISHED, None, False)
        assert session.server_key == crowd.server_key(number)
    assert len({conn_of(crowd, number).real_server.slot for number in range(50)}) > 1
    assert crowd.now == pytest.approx(50 / crowd.per_s)


def test_sessions_that_are_replaced_rest_in_time_wait() -> None:
    crowd = Crowd(30)
    crowd.open(range(20))
    crowd.replace(range(0, 20, 2), range(20, 30))
    states = [TcpState(conn_of(crowd, number).state) for number in range(30)]
    assert states == [TcpState.TIME_WAIT, TcpState.ESTABLISHED] * 10 + [TcpState.ESTABLISHED] * 10


@pytest.mark.parametrize("direction", Direction)
def test_packets_are_those_of_the_sessions(direction: Direction) -> None:
    crowd = Crowd(20)
    crowd.open(range(20))
    service = next(iter({conn_of(crowd, number).service for number in range(20)}))
    before = sum(real_server.counts[direction] for real_server in service.real_servers)
    for raw in crowd.packets(picked(range(20), 100), direction):
        crowd.shard.handle(raw, crowd.now)
    assert sum(real_server.counts[direction] for real_server in service.real_servers) - before == 100


def test_all_expire_with_time_or_after_a_jump() -> None:
    crowd = Crowd(30)
    crowd.open(range(20))
    crowd.replace(range(10), range(20, 30))
    crowd.tick_until_empty()
    assert 900 < crowd.now < 1000, "as long as an established session may be idle"
    crowd.open(range(20))
    assert len(crowd) == 20
    crowd.jump_until_empty()
    assert len(crowd) == 0


def test_a_session_that_is_left_is_noticed() -> None:
    crowd = Crowd(10)
    crowd.open(range(10))
    crowd.shard._sessions.wheel.disarm(conn_of(crowd, 3))
    with pytest.raises(AssertionError, match="left of the sessions: \\(1, "):
        crowd.jump_until_empty()


def test_ports_do_not_run_out() -> None:
    pools = [pool for _, _, pool in _opened(Crowd(2_000_000), 200).shard._sessions.local_ports("tcp")]
    assert sum(pool.size for pool in pools) > 2_000_000
    assert sum(pool.in_use for pool in pools) == 200


def _opened(crowd: Crowd, count: int) -> Crowd:
    crowd.open(range(count))
    return crowd


def test_the_longest_call_is_kept_and_all_are_added_up() -> None:
    pauses, naps = Pauses(), iter((1000, 200_000, 1000))
    counted = [pauses.timed(sum, range(next(naps))) for _ in range(3)]
    assert counted[1] == sum(range(200_000))
    assert 0 < pauses.longest_s < pauses.total_s < 3 * pauses.longest_s


def test_the_collector_is_as_it_was_afterwards() -> None:
    frozen = gc.get_freeze_count()
    with as_in_a_worker():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


# everything, and the table


def test_everything_is_measured() -> None:
    said: list[str] = []
    figures = measure(300, Effort(rounds=2, packets=100, packets_per_tick=2), said.append)
    assert set(figures) == {row.name for row in ROWS} | {f"{row.name}_{end}" for row in ROWS for end in row.beside}
    assert all(value >= 0 for value in figures.values())
    assert figures["list_steps"] == 3, "those in TIME_WAIT, too"
    assert said[0] == "opened"


def test_the_printed_table() -> None:
    one: Figures = {row.name: 1234.567 for row in ROWS}
    values: Figures = {"low": 0.5, "high": 2000.0, "long": 1007}
    one |= {f"{row.name}_{end}": values[end] for row in ROWS for end in row.beside}
    lines = as_text(MACHINE, {20_000: one, 100_000: dict.fromkeys(one, 2.0)}).splitlines()
    assert lines[0] == "kernel 6.1.0, a CPU, 2 cores, Python 3.11.2"
    assert lines[4].split()[-2:] == ["20,000", "100,000"]
    assert len(lines) == 5 + len(ROWS)
    rows = dict(zip((row.name for row in ROWS), lines[5:], strict=True))
    assert rows["resident_bytes"].split()[-2:] == ["1,235", "2"]
    assert rows["inbound_ratio"].split()[-4:] == ["1,234.57", "(0.50..2,000.00)", "2.00", "(2.00..2.00)"]
    assert rows["churn_handle_ms"].split()[-4:] == ["1,234.57", "(1,007)", "2.00", "(2.00)"]
    assert f"with {FEW:,} sessions" in rows["inbound_few_us"]
    assert len(set(map(len, lines[4:]))) == 1, "columns are aligned"
