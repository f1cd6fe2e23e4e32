"""director/configuration.py: every way to change what is in force, one at a time; and what is refused changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from appliance.config.edits import look_up
from appliance.config.loading import Config, ConfigError, ConfigProblem
from appliance.director.confirmation import RETRY_S
from appliance.ipc.rows import ChangePlan, PlannedChange
from appliance.model import edit
from appliance.model.edit import MERGE, REAL_SERVER, REMOVE, SERVICE, ChangeRefusedError, Edit, Subject, version_of
from tests.support.api_changes import SHIPPED
from tests.support.configuration import FakeConfiguration
from tests.support.gateway import shared_state

WEB, RS1 = Subject(SERVICE, "web"), Subject(REAL_SERVER, "web", "192.0.2.101:8080")
DRAINED = SHIPPED.replace("weight = 100", "weight = 0", 1)
DRAIN = "service web: real server 192.0.2.101:8080 weight 100 -> 0"
BACK = "service web: real server 192.0.2.101:8080 weight 0 -> 100"


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.moved = asyncio.Condition()

    async def sleep(self, s: float) -> None:
        until = self.now + s
        async with self.moved:
            await self.moved.wait_for(lambda: self.now >= until)

    async def move(self, s: float) -> None:
        self.now += s
        async with self.moved:
            self.moved.notify_all()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def configuration(clock: Clock) -> AsyncIterator[FakeConfiguration]:
    shared = shared_state(shards=1, destinations=2)
    made = FakeConfiguration(shared, clock=(clock.sleep, lambda: clock.now))
    yield made
    await made.end()


def weights(configuration: FakeConfiguration) -> list[int]:
    return [server.weight for server in configuration.in_force.services[0].real_servers]


async def refusal(done: "asyncio.Future[object]") -> ChangeRefusedError:
    with pytest.raises(ChangeRefusedError) as refused:
        await done
    return refused.value


async def test_a_plan_changes_nothing(configuration: FakeConfiguration) -> None:
    plan = await configuration.plan(DRAINED)
    assert plan.changes == [PlannedChange(DRAIN, "kept", 3)]
    assert weights(configuration) == [100, 100]


async def test_a_plan_that_names_a_list_which_cannot_be_used_is_refused(
    configuration: FakeConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_running: Config, _wanted: Config) -> ChangePlan:
        raise ConfigError("/etc/list", (ConfigProblem((), None, "cannot be used (deny_files of service web): no such file"),))

    monkeypatch.setattr(configuration, "_plan", read)
    refused = await refusal(asyncio.ensure_future(configuration.plan(None)))
    assert (refused.kind, str(refused)) == (
        edit.BAD_CONFIG,
        "/etc/list: cannot be used (deny_files of service web): no such file",
    )


async def test_a_text_is_put_in_force_and_the_file_brings_back_what_it_says(configuration: FakeConfiguration) -> None:
    done = await configuration.apply(DRAINED, 0, ())
    assert (done.changes, weights(configuration)) == ([DRAIN], [0, 100])
    assert (await configuration.state()).differences == [DRAIN]
    assert (await configuration.apply(None, 0, ())).changes == [BACK]
    assert (await configuration.state()).differences == []


@pytest.mark.parametrize("text", ["", "[", SHIPPED.replace("weight = 100", "weight = -1", 1), "x = 1\n" * 100])
async def test_a_bad_text_changes_nothing_and_says_why(configuration: FakeConfiguration, text: str) -> None:
    for attempt in (configuration.plan(text), configuration.apply(text, 60, ())):
        error = await refusal(asyncio.ensure_future(cast("asyncio.Future[object]", attempt)))
        assert error.kind == edit.BAD_CONFIG
        assert 0 < len(error.reasons) <= 50
    assert weights(configuration) == [100, 100]
    assert configuration.confirmation.left_s is None


async def test_what_the_director_refuses_changes_nothing(configuration: FakeConfiguration) -> None:
    configuration.refuses = "gateway.shards: 2 -> 3 needs a restart\nwhy not"
    error = await refusal(asyncio.ensure_future(configuration.apply(DRAINED, 60, ())))
    assert (error.kind, str(error)) == (edit.NOT_WHILE_RUNNING, "gateway.shards: 2 -> 3 needs a restart; and 1 more")
    assert weights(configuration) == [100, 100]
    assert configuration.confirmation.left_s is None


async def test_a_change_is_taken_back_unless_it_is_confirmed(configuration: FakeConfiguration, clock: Clock) -> None:
    assert (await configuration.apply(DRAINED, 60, ())).confirm_within_s == 60
    await clock.move(59.0)
    assert weights(configuration) == [0, 100]
    assert (await configuration.state()).unconfirmed_s == 1.0
    await clock.move(1.0)
    assert weights(configuration) == [100, 100]
    assert (await configuration.state()).unconfirmed_s is None


async def test_a_confirmed_change_stays(configuration: FakeConfiguration, clock: Clock) -> None:
    await configuration.apply(DRAINED, 60, ())
    await configuration.confirm()
    await clock.move(100.0)
    assert weights(configuration) == [0, 100]
    assert (await refusal(asyncio.ensure_future(configuration.confirm()))).kind == edit.NOTHING_TO_CONFIRM


async def test_what_could_not_be_taken_back_is_tried_again(configuration: FakeConfiguration, clock: Clock) -> None:
    await configuration.apply(DRAINED, 60, ())
    configuration.refuses = "the kernel refuses it"
    await clock.move(60.0)
    assert (weights(configuration), configuration.confirmation.left_s) == ([0, 100], 0.0)
    configuration.refuses = ""
    await clock.move(RETRY_S)
    assert (weights(configuration), configuration.confirmation.left_s) == ([100, 100], None)


async def test_nothing_waits_when_nothing_has_changed(configuration: FakeConfiguration) -> None:
    assert (await configuration.apply(SHIPPED, 60, ())).confirm_within_s == 0
    assert configuration.confirmation.left_s is None


Attempt = Callable[[FakeConfiguration], "asyncio.Future[object]"]
ATTEMPTS: list[Attempt] = [
    lambda configuration: asyncio.ensure_future(cast("asyncio.Future[object]", configuration.apply(SHIPPED, 0, ()))),
    lambda configuration: asyncio.ensure_future(
        cast("asyncio.Future[object]", configuration.change(Edit(MERGE, RS1, {"weight": 5}), ()))
    ),
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_nothing_else_changes_while_a_change_waits(configuration: FakeConfiguration, attempt: Attempt) -> None:
    await configuration.apply(DRAINED, 60, ())
    error = await refusal(attempt(configuration))
    assert (error.kind, weights(configuration)) == (edit.UNCONFIRMED, [0, 100])


async def test_a_reload_is_refused_while_a_change_waits(
    configuration: FakeConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    await configuration.apply(DRAINED, 60, ())
    configuration.text = SHIPPED.replace("weight = 100", "weight = 7")
    await configuration.reload()
    assert weights(configuration) == [0, 100]
    assert caplog.messages[-1] == "reload refused, nothing has changed"


async def test_taking_back_gives_tunables_the_values_they_had(configuration: FakeConfiguration, clock: Clock) -> None:
    shared = configuration.shared
    shared.set_tunables({"udp_timeout": 5000})
    await configuration.apply(SHIPPED.replace("[sysctl]\n", "[sysctl]\nudp_timeout = 7000\n"), 60, ())
    await clock.move(60.0)
    assert configuration.in_force.sysctl["udp_timeout"] == 5000


async def test_an_operators_tunable_is_a_difference_to_the_file(configuration: FakeConfiguration) -> None:
    configuration.shared.set_tunables({"udp_timeout": 5000})
    state = await configuration.state()
    assert state.differences == ["tunable udp_timeout: 300000 -> 5000"]
    assert state.config["sysctl"]["udp_timeout"] == 5000


async def test_of_two_who_know_the_same_state_one_changes_it(configuration: FakeConfiguration) -> None:
    known = (version_of(configuration.look_up(WEB)),)
    outcomes = await asyncio.gather(
        *(configuration.change(Edit(MERGE, WEB, {"scheduler": name}), known) for name in ("wrr", "lc")), return_exceptions=True
    )
    [refused] = [outcome for outcome in outcomes if isinstance(outcome, ChangeRefusedError)]
    assert refused.kind == edit.CHANGED_MEANWHILE
    assert configuration.in_force.services[0].scheduler == "wrr"


async def test_changes_of_different_servers_at_the_same_time_are_all_made(configuration: FakeConfiguration) -> None:
    subjects = [Subject(REAL_SERVER, "web", f"192.0.2.10{number}:8080") for number in (1, 2)]
    await asyncio.gather(*(configuration.change(Edit(MERGE, subject, {"weight": 5}), ()) for subject in subjects))
    assert weights(configuration) == [5, 5]


@pytest.mark.parametrize(("versions", "is_done"), [((), True), (("*",), True), (("0" * 24,), False)])
async def test_a_whole_configuration_has_versions_too(
    configuration: FakeConfiguration, versions: tuple[str, ...], is_done: bool
) -> None:
    known = version_of((await configuration.state()).config)
    if not is_done:
        assert (await refusal(asyncio.ensure_future(configuration.apply(DRAINED, 0, versions)))).kind == edit.CHANGED_MEANWHILE
        versions = (*versions, known)
    assert (await configuration.apply(DRAINED, 0, versions)).changes == [DRAIN]


async def test_any_version_is_none_of_what_is_not_there(configuration: FakeConfiguration) -> None:
    there, not_there = Edit(REMOVE, RS1), Edit("replace", Subject(REAL_SERVER, "web", "192.0.2.9:80"), {})
    assert (await refusal(asyncio.ensure_future(configuration.change(not_there, ("*",))))).kind == edit.CHANGED_MEANWHILE
    assert (await configuration.change(there, ("*",))).changes


COMMAND = {"health_check": {"type": "command", "command": ["/bin/sh", "-c", "id"]}}
WITH_COMMAND = SHIPPED.replace(
    "[[service.real_server]]",
    '[service.health_check]\ntype = "command"\ncommand = ["/bin/sh", "-c", "id"]\n[[service.real_server]]',
    1,
)


async def test_a_command_that_is_not_in_the_file_is_refused(configuration: FakeConfiguration) -> None:
    for attempt in (
        asyncio.ensure_future(cast("asyncio.Future[object]", configuration.change(Edit(MERGE, RS1, COMMAND), ()))),
        asyncio.ensure_future(cast("asyncio.Future[object]", configuration.apply(WITH_COMMAND, 0, ()))),
        asyncio.ensure_future(cast("asyncio.Future[object]", configuration.plan(WITH_COMMAND))),
    ):
        assert (await refusal(attempt)).kind == edit.COMMAND_REFUSED
    assert look_up(configuration.in_force, WEB) == look_up(FakeConfiguration(configuration.shared).in_force, WEB)


async def test_a_command_of_the_file_may_be_used_by_others(configuration: FakeConfiguration) -> None:
    configuration.text = WITH_COMMAND
    await configuration.reload()
    await configuration.change(Edit(MERGE, RS1, COMMAND), ())
    await configuration.apply(WITH_COMMAND, 0, ())


async def test_a_file_that_says_nothing_new_leaves_changes_alone_and_the_log_names_them(
    configuration: FakeConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    await configuration.reload()
    assert weights(configuration) == [0, 100]
    assert "1 changes are not in /etc/appliance/lvs.toml" in caplog.text
    configuration.text = SHIPPED.replace("weight = 100", "weight = 7")
    await configuration.reload()
    assert weights(configuration) == [7, 7]


async def test_a_file_that_cannot_be_used_is_said(configuration: FakeConfiguration) -> None:
    configuration.text = "["
    state = await configuration.state()
    assert (state.differences, state.file_problem.partition(":")[0]) == ([], "lvs.toml")
    assert (await refusal(asyncio.ensure_future(configuration.apply(None, 0, ())))).kind == edit.BAD_CONFIG


async def test_unsaved_changes_are_named_when_the_run_ends(
    configuration: FakeConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    await configuration.end()
    assert not caplog.messages
    await configuration.apply(DRAINED, 60, ())
    await configuration.end()
    assert "only `appliance save` makes them outlive this run" in caplog.messages[-1]


async def test_a_change_is_saved_once_and_survives_a_reload(configuration: FakeConfiguration) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    done = await configuration.save(write=True)
    assert (done.changes, done.is_written) == ([DRAIN], True)
    assert configuration.text == DRAINED
    assert (await configuration.state()).differences == []
    assert (await configuration.save(write=True)).is_written is False
    await configuration.reload()
    assert weights(configuration) == [0, 100]


async def test_somebody_else_may_write_what_is_offered(configuration: FakeConfiguration) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    offer = await configuration.save(write=False)
    assert (configuration.text, offer.before, offer.is_written) == (SHIPPED, SHIPPED, False)
    configuration.text = offer.after
    await configuration.change(Edit(MERGE, RS1, {"weight": 9}), ())
    await configuration.reload()
    assert weights(configuration) == [9, 100], "the file says what was in force when it was saved, and that is nothing new"
    assert (await configuration.save(write=True)).changes == [DRAIN.replace("100 -> 0", "0 -> 9")]


async def test_a_file_that_its_operator_has_changed_is_not_overwritten(configuration: FakeConfiguration) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    configuration.text = by_hand = SHIPPED.replace("weight = 100", "weight = 7")
    for write in (False, True):
        error = await refusal(asyncio.ensure_future(cast("asyncio.Future[object]", configuration.save(write=write))))
        assert error.kind == edit.FILE_CHANGED
    assert configuration.text == by_hand


async def test_comments_that_its_operator_has_changed_stay(configuration: FakeConfiguration) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    configuration.text = f"# mine\n{SHIPPED}"
    await configuration.save(write=True)
    assert configuration.text == f"# mine\n{DRAINED}"


async def test_nothing_unconfirmed_is_saved(configuration: FakeConfiguration) -> None:
    await configuration.apply(DRAINED, 60, ())
    error = await refusal(asyncio.ensure_future(cast("asyncio.Future[object]", configuration.save(write=True))))
    assert (error.kind, configuration.text) == (edit.UNCONFIRMED, SHIPPED)


async def test_a_file_that_cannot_be_written_is_said(configuration: FakeConfiguration) -> None:
    await configuration.change(Edit(MERGE, RS1, {"weight": 0}), ())
    configuration.is_read_only = True
    error = await refusal(asyncio.ensure_future(cast("asyncio.Future[object]", configuration.save(write=True))))
    assert (error.kind, configuration.text) == (edit.NOT_WRITABLE, SHIPPED)
    assert (await configuration.state()).differences == [DRAIN]


async def test_a_session_log_in_a_file_that_the_file_does_not_name_is_refused(configuration: FakeConfiguration) -> None:
    """Whoever has a token must not choose which file is written to."""
    usual, other = (
        SHIPPED.replace("[session_log]\n", f'[session_log]\ntarget = "file"\n{file}') for file in ("", 'file = "/etc/cron.d/x"\n')
    )
    for attempt in (
        asyncio.ensure_future(cast("asyncio.Future[object]", configuration.apply(other, 0, ()))),
        asyncio.ensure_future(cast("asyncio.Future[object]", configuration.plan(other))),
    ):
        refused = await refusal(attempt)
        assert refused.kind == edit.COMMAND_REFUSED
        assert "session_log.file: '/etc/cron.d/x' is a path that" in str(refused)
    assert (await configuration.apply(usual, 0, ())).changes == ['session_log.target: "off" -> "file"']
    configuration.text = other
    await configuration.reload()
    assert (await configuration.apply(other.replace('target = "file"', 'target = "off"'), 0, ())).changes
    assert (await configuration.apply(other, 0, ())).changes
