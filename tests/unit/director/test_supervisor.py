"""supervisor.py without processes: what is answered while a worker is not there, and that none misses a change of services."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import Mock

import pytest

from appliance.director.supervisor import ShardProcess
from appliance.ipc.messages import LineReader, encode_plan, encode_question, encode_services
from appliance.ipc.plan import ServicePlan, services_from_json
from appliance.ipc.queries import ROWS, Query, SessionFilter, ShardDownError
from appliance.model.verdicts import CHALLENGED, NO_REAL_SERVER
from appliance.worker.control_channel import ControlChannel
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan

DRAINED = plan(weights=(0,)).services


@pytest.mark.parametrize("writer", [None, Mock()], ids=["no worker", "a worker that is still starting"])
async def test_sessions_of_a_worker_that_is_not_ready_are_refused_at_once(writer: Mock | None) -> None:
    process = ShardProcess(plan(), shared_fd=-1)
    process._writer = writer
    with pytest.raises(ShardDownError, match="shard 0"):
        await anext(process.ask(Query(ROWS)))
    if writer is not None:
        writer.write.assert_not_called()


@pytest.mark.parametrize("ready", [False, True], ids=["still starting", "ready"])
async def test_a_worker_that_has_its_plan_is_told_of_a_change(ready: bool) -> None:
    process = ShardProcess(plan(), shared_fd=-1)
    process._writer, process.up = Mock(), ready
    process.change_services(DRAINED)
    assert [services_in(call.args[0]) for call in process._writer.write.call_args_list] == [DRAINED]


def services_in(line: bytes) -> tuple[ServicePlan, ...]:
    (message,) = LineReader().feed(line)
    return services_from_json(message["services"])


async def test_a_worker_that_starts_later_starts_with_the_change() -> None:
    process = ShardProcess(plan(), shared_fd=-1)
    process.change_services(DRAINED)
    assert process._plan == replace(plan(), services=DRAINED)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, ControlChannel]]:
    """The director's end of a control socket and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, ControlChannel(theirs)


def test_a_change_right_behind_the_plan_is_not_lost(ends: tuple[socket.socket, ControlChannel]) -> None:
    """A worker that is still starting reads both in one go."""
    ours, channel = ends
    ours.sendall(encode_plan(plan()) + encode_services(DRAINED))
    assert channel.wait_for_plan() == plan()
    shard = Mock()
    channel.converse(shard)
    shard.change_services.assert_called_once_with(DRAINED)


def test_a_change_comes_between_two_pieces_of_an_answer(ends: tuple[socket.socket, ControlChannel]) -> None:
    ours, channel = ends
    ours.sendall(encode_plan(plan()))
    channel.wait_for_plan()
    world = World()
    world.client.connects()
    ours.sendall(encode_question(1, Query(ROWS, SessionFilter(state="CLOSE"))) + encode_services(DRAINED))
    channel.converse(world.shard)
    assert world.client.sends("S", seq=5) is CHALLENGED
    assert world.put(tcp(CLIENT[:5] + b"\1", VIP, "S")) is NO_REAL_SERVER
    assert list(LineReader().feed(ours.recv(1 << 16))) == [{"walk": 1, "items": [], "is_last": True, "place": ""}]


def test_a_director_that_goes_away_before_the_plan_ends_the_worker(ends: tuple[socket.socket, ControlChannel]) -> None:
    ours, channel = ends
    ours.close()
    with pytest.raises(SystemExit, match="before it sent a plan"):
        channel.wait_for_plan()
