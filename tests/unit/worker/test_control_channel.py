"""control_channel.py: what a worker makes of what the director says, and that no message ends it."""

import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from appliance.ipc.messages import (
    VERSION,
    Ask,
    AwaitSettled,
    ChangeServices,
    ChangeSessionLog,
    Done,
    Ended,
    EndWalk,
    Forget,
    LineReader,
    Message,
    More,
    Piece,
    Refused,
    Start,
    decode,
    encode,
)
from appliance.ipc.plan import ServiceKey, ServicePlan
from appliance.ipc.queries import CUT, ROWS, TALLY, Query, SessionFilter
from appliance.model.verdicts import CHALLENGED, NO_REAL_SERVER
from appliance.sessions import service_changes
from appliance.sessions import walk as walk_module
from appliance.worker.control_channel import ControlChannel
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan

DRAINED = plan(weights=(0,)).services


class Ends:
    """The director's end of a control socket, which the test holds, and the worker's."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.ours = ours
        self.channel = ControlChannel(theirs)
        self._numbers = itertools.count(1)
        self._reader = LineReader()

    def say(self, *messages: Message) -> None:
        """As the director, whose messages are numbered from 1 on."""
        self.ours.sendall(b"".join(encode(next(self._numbers), message) for message in messages))

    def hear(self) -> list[Message]:
        """What the worker has said."""
        self.ours.setblocking(False)
        try:
            data = self.ours.recv(1 << 20)
        except BlockingIOError:
            return []
        return [decode(line).message for line in self._reader.feed(data)]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Ends(ours, theirs)


@pytest.fixture
def started(ends: Ends) -> Ends:
    """A worker that has its plan, which was message 1."""
    ends.say(Start(plan()))
    assert ends.channel.wait_for_plan() == plan()
    return ends


def test_the_plan_is_confirmed_when_the_worker_is_ready(started: Ends) -> None:
    assert started.hear() == []
    started.channel.confirm_start()
    assert started.hear() == [Done(1)]


def test_a_worker_that_cannot_start_says_why(started: Ends) -> None:
    started.channel.refuse_start("cannot bind")
    assert started.hear() == [Refused(1, "cannot bind")]


def test_a_change_right_behind_the_plan_is_not_lost(ends: Ends) -> None:
    """A worker that is still starting reads both in one go."""
    ends.say(Start(plan()), ChangeServices(DRAINED))
    assert ends.channel.wait_for_plan() == plan()
    world = World()
    ends.channel.converse(world.shard, world.tracer)
    assert world.put(tcp(CLIENT, VIP, "S")) is NO_REAL_SERVER
    assert ends.hear() == [Done(2)]


def test_a_change_is_acknowledged_after_it_is_in_force(started: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    world, said_before = World(), list[Message]()
    change = world.inside.change_services

    def changes_late(services: tuple[ServicePlan, ...], gone: tuple[ServiceKey, ...]) -> None:
        said_before.extend(started.hear())
        change(services, gone)

    monkeypatch.setattr(world.inside, "change_services", changes_late)
    started.say(ChangeServices(DRAINED))
    started.channel.converse(world.shard, world.tracer)
    assert said_before == []
    assert started.hear() == [Done(2)]


def test_the_director_hears_when_all_sessions_of_a_removed_service_have_ended(
    started: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_changes, "_SETTLED_AT_ONCE", 1)
    world = World()
    for port in (1, 2, 3):
        world.put(tcp(CLIENT[:5] + bytes([port]), VIP, "S"))
    started.say(ChangeServices((), (plan().services[0].key,)), AwaitSettled())
    started.channel.converse(world.shard, world.tracer)
    assert started.channel.has_output
    started.channel.converse(world.shard, world.tracer)
    assert (started.hear(), len(world.inside)) == ([Done(2)], 2)
    world.shard.on_tick(world.now, 10)
    started.channel.converse(world.shard, world.tracer)
    assert (started.hear(), len(world.inside)) == ([], 1)
    while world.shard.on_tick(world.now, 10):
        pass
    started.channel.converse(world.shard, world.tracer)
    assert (started.hear(), len(world.inside)) == ([Done(3)], 0)
    started.channel.converse(world.shard, world.tracer)
    assert started.hear() == []


def test_one_change_of_services_is_made_in_a_turn(started: Ends) -> None:
    world = World()
    started.say(ChangeServices(DRAINED), ChangeServices(plan().services))
    for number in (2, 3):
        assert started.hear() == []
        started.channel.converse(world.shard, world.tracer)
        assert started.hear() == [Done(number)]
        assert started.channel.has_output is (number == 2)


def test_a_real_server_with_sessions_is_not_forgotten(started: Ends, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.client.connects()
    started.say(ChangeServices(plan(weights=()).services), Forget([["web", "192.0.2.101", 8080]]))
    started.channel.converse(world.shard, world.tracer)
    started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Done(2), Refused(3, "a real server of service web has sessions")]
    world.walk_all(CUT)
    started.say(Forget([["web", "192.0.2.101", 8080]]), Forget([["web", "not an address", 8080]]))
    started.channel.converse(world.shard, world.tracer)
    first, second = started.hear()
    assert first == Done(4)
    assert isinstance(second, Refused)
    assert caplog.messages == []


def test_a_change_comes_between_two_pieces_of_an_answer(started: Ends) -> None:
    world = World()
    world.client.connects()
    started.say(Ask(Query(ROWS, SessionFilter(state="CLOSE"))), ChangeServices(DRAINED))
    started.channel.converse(world.shard, world.tracer)
    assert world.client.sends("S", seq=5) is CHALLENGED
    assert world.put(tcp(CLIENT[:5] + b"\1", VIP, "S")) is NO_REAL_SERVER
    assert started.hear() == [Done(3), Piece(2, [], True, "")]


def test_pieces_are_made_when_they_are_asked_for(started: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "BUDGET", 1)
    world = World()
    world.client.connects()
    started.say(Ask(Query(TALLY, by="service")))
    for _ in range(3):
        started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Piece(2, [["web", 1]], False, "")]
    assert (len(started.channel._walks), started.channel.has_output) == (1, False)
    started.say(More(2))
    started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Piece(3, [], True, "")]
    assert not started.channel._walks


def test_a_walk_that_was_ended_makes_no_more_pieces(started: Ends) -> None:
    world = World()
    started.say(Ask(Query(ROWS)), EndWalk(2), EndWalk(2), More(2))
    started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Done(3), Done(4), Refused(5, "More does not fit here"), Done(2)]
    assert not started.channel._walks


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", "not a message"),
        (b'{"version":%d,"kind":"dance","number":9}\n' % VERSION, "unknown kind 'dance'"),
        (b'{"version":%d,"kind":"ask","number":9}\n' % (VERSION + 1), f"version {VERSION + 1}"),
        (encode(9, Start(plan())), "Start does not fit here"),
        (encode(9, Piece(1, [], True, "")), "Piece does not fit here"),
        (encode(9, Ask(Query("dance"))), "QueryError"),
        (encode(9, Ask(Query(ROWS, after="nowhere"))), "QueryError"),
    ],
)
def test_what_a_worker_cannot_do_is_logged_and_refused_and_ends_nothing(
    started: Ends, line: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    started.ours.sendall(line)
    started.channel.converse(world.shard, world.tracer)
    (refusal,) = started.hear()
    assert isinstance(refusal, Refused)
    assert refusal.of == (0 if line == b"nonsense\n" else 9)
    assert words in refusal.reason
    assert len(caplog.records) == 1
    assert_still_answers(started, world)


def assert_still_answers(ends: Ends, world: World) -> None:
    ends.say(ChangeServices(DRAINED))
    ends.channel.converse(world.shard, world.tracer)
    (answer,) = ends.hear()
    assert isinstance(answer, Done)
    assert not ends.channel.closed


def test_a_change_that_fails_ends_that_change_and_not_the_worker(
    started: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patched:
        patched.setattr(world.inside, "change_services", fail)
        started.say(ChangeServices(DRAINED))
        started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Refused(2, "ChangeServices failed: RuntimeError('a mistake of ours')")]
    assert caplog.messages == ["ChangeServices failed because of an error of ours; please report this"]
    assert_still_answers(started, world)


@pytest.mark.parametrize("step", ["raises", "is not JSON"])
def test_a_walk_that_fails_ends_that_answer_and_not_the_worker(
    started: Ends, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()

    def fail(*_: object) -> walk_module.Piece:
        if step == "raises":
            raise RuntimeError("a mistake of ours")
        return walk_module.Piece([object()], False)

    with monkeypatch.context() as patched:
        patched.setattr(walk_module.SessionWalk, "step", fail)
        started.say(Ask(Query(ROWS)))
        started.channel.converse(world.shard, world.tracer)
    (refusal,) = started.hear()
    assert isinstance(refusal, Refused)
    assert refusal.of == 2
    assert "please report this" in caplog.text
    assert (len(started.channel._walks), started.channel.has_output) == (0, False)
    assert_still_answers(started, world)


def test_a_refusal_is_logged_and_never_answered(started: Ends, caplog: pytest.LogCaptureFixture) -> None:
    started.ours.sendall(encode(9, Refused(3, "why")) + b'{"version":99,"kind":"refused","number":10}\n')
    started.channel.converse((world := World()).shard, world.tracer)
    assert started.hear() == []
    assert caplog.messages[0] == "the director refused message 3: why"
    assert "version 99" in caplog.messages[1]


def test_a_director_of_another_version_is_a_clear_error_for_both(ends: Ends) -> None:
    ends.ours.sendall(b'{"version":99,"kind":"start","number":1,"plan":{}}\n')
    words = f"version 99, while this process has version {VERSION}.* has to be restarted"
    with pytest.raises(SystemExit, match=words):
        ends.channel.wait_for_plan()
    (refusal,) = ends.hear()
    assert isinstance(refusal, Refused)
    assert f"version 99, while this process has version {VERSION}" in refusal.reason


def test_a_first_message_that_is_no_plan_ends_the_worker(ends: Ends) -> None:
    ends.say(EndWalk(1))
    with pytest.raises(SystemExit, match="EndWalk and not Start"):
        ends.channel.wait_for_plan()


def test_a_director_that_goes_away_before_the_plan_ends_the_worker(ends: Ends) -> None:
    ends.ours.close()
    with pytest.raises(SystemExit, match="before it sent a plan"):
        ends.channel.wait_for_plan()


def test_a_director_that_goes_away_later_closes_the_channel(started: Ends) -> None:
    started.ours.close()
    started.channel.converse((world := World()).shard, world.tracer)
    assert started.channel.closed


def test_a_query_that_was_not_checked_is_refused_and_the_worker_goes_on(ends: Ends) -> None:
    world = World()
    ends.ours.sendall(encode(1, Ask(Query(TALLY, by="client"))).replace(b'"client"', b'""'))
    ends.ours.sendall(encode(2, Ask(Query(ROWS, SessionFilter(service="web")))))
    ends.channel.converse(world.shard, world.tracer)
    refused, piece = ends.hear()
    assert isinstance(refused, Refused)
    assert refused.of == 1
    assert "there is no ''" in refused.reason
    assert isinstance(piece, Piece)


def logging_world() -> World:
    world = World(replace(plan(), log_per_s=1000))
    world.client.connects()
    return world


def test_sessions_that_have_ended_are_told_without_being_asked(started: Ends) -> None:
    world = logging_world()
    started.channel.tell_ended(world.shard)
    assert started.hear() == []
    world.walk_all(CUT)
    started.channel.tell_ended(world.shard)
    (ended,) = started.hear()
    assert isinstance(ended, Ended)
    ((service, *_, out_bytes),) = ended.rows
    assert (service, ended.left_out) == ("web", 0)
    assert out_bytes > 0
    started.channel.tell_ended(world.shard)
    assert started.hear() == []


def test_those_that_a_query_has_cut_are_told_before_its_answer(started: Ends) -> None:
    world = logging_world()
    started.say(Ask(Query(CUT)))
    started.channel.converse(world.shard, world.tracer)
    assert [type(message) for message in started.hear()] == [Ended, Piece]


def test_a_director_that_does_not_read_gets_no_more(started: Ends) -> None:
    world = logging_world()
    started.channel._unsent = b"{"
    world.walk_all(CUT)
    started.channel.tell_ended(world.shard)
    assert started.channel._unsent == b"{"
    assert len(world.shard.sessions.ended) == 1


def test_what_is_told_changes_while_traffic_flows(started: Ends) -> None:
    world = World()
    started.say(ChangeSessionLog(5, ["web"]))
    started.channel.converse(world.shard, world.tracer)
    assert started.hear() == [Done(2)]
    assert world.shard.sessions.ended.is_on
    started.say(ChangeSessionLog(0, []))
    started.channel.converse(world.shard, world.tracer)
    assert not world.shard.sessions.ended.is_on
