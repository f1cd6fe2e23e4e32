"""change_plans.py: what a plan looks up besides, in files and in shards."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from appliance.config.loading import Config, ConfigError, parse
from appliance.director.access_control import AccessControl, Wanted
from appliance.director.access_lists import read_access
from appliance.director.change_plans import NOT_COUNTED, ChangePlans
from appliance.ipc.queries import SessionFilter, ShardDownError
from appliance.ipc.rows import PlannedChange
from appliance.policy.access_rules import AccessService
from tests.support.api_changes import SHIPPED

RUNNING = parse(SHIPPED, "lvs.toml")
DEFAULT = RUNNING.local_addresses["default"]


class FakeTable:
    """The lists in force."""

    def __init__(self, services: Sequence[AccessService] = ()) -> None:
        self.services = services


class Shards:
    """The sessions that the test says."""

    def __init__(self, **counts: Mapping[str, int]) -> None:
        self.counts = counts
        self.asked: list[tuple[str, str]] = []
        self.is_away = False

    async def tally(self, by: str, wanted: SessionFilter) -> Mapping[str, int]:
        self.asked.append((by, wanted.service))
        if self.is_away:
            raise ShardDownError("the worker of shard 0 is away")
        return self.counts[by]

    async def cut(self, wanted: SessionFilter, clients: object = ()) -> int:
        raise NotImplementedError


def plans(shards: Shards, running: Config = RUNNING) -> ChangePlans:
    control = AccessControl(FakeTable(read_access(running)), shards)  # type: ignore[arg-type]
    return ChangePlans(control, shards, lambda: lambda _service, _endpoint: 0)


def with_pool(*addresses: IPv4Address) -> Config:
    return RUNNING.model_copy(update={"local_addresses": {**RUNNING.local_addresses, "default": addresses}})


def with_web(**keys: object) -> Config:
    web, *others = RUNNING.services
    return RUNNING.model_copy(update={"services": (web.model_copy(update=keys), *others)})


async def test_sessions_on_an_address_that_goes_are_counted_as_ended() -> None:
    gone, *rest = DEFAULT
    shards = Shards(local_address={str(gone): 7, **{str(address): 100 for address in rest}})
    plan = await plans(shards).plan(RUNNING, with_pool(*rest, IPv4Address("192.0.2.77")))
    assert plan.changes[-1] == PlannedChange(f"local address {gone} is of no service any more", "ended", 7)
    assert len(plan.changes) == 2
    assert shards.asked == [("local_address", "")]


async def test_an_address_in_another_pool_of_a_service_does_not_go() -> None:
    shards = Shards()
    with_spare = RUNNING.model_copy(update={"local_addresses": {**RUNNING.local_addresses, "spare": DEFAULT}})
    moved = with_spare.model_copy(
        update={"services": tuple(one.model_copy(update={"local_addresses": "spare"}) for one in with_spare.services)}
    )
    plan = await plans(shards).plan(with_spare, moved)
    assert not any("of no service" in change.change for change in plan.changes)
    assert shards.asked == []


async def test_sessions_of_clients_that_are_denied_are_counted_as_ended() -> None:
    shards = Shards(client={"198.51.100.7": 3, "198.51.100.8": 4, "192.0.2.1": 50})
    plan = await plans(shards).plan(RUNNING, with_web(deny=(IPv4Network("198.51.100.0/24"),)))
    assert plan.changes[-1] == PlannedChange("service web: clients that its lists do not admit any more", "ended", 7)
    assert [change.change for change in plan.changes[:-1]] == [
        "service web: deny [] -> [198.51.100.0/24]",
        "service web: deny has 1 ranges of addresses, had 0",
    ]
    assert shards.asked == [("client", "web")]


async def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    missing, bad = tmp_path / "missing", tmp_path / "bad"
    bad.write_text("10.0.0.0/8\nnonsense\n")
    for file, words in ((missing, "cannot be used (deny_files of service web)"), (bad, f'{bad}:2: "nonsense"')):
        with pytest.raises(ConfigError) as refused:
            await plans(Shards()).plan(RUNNING, with_web(deny_files=(str(file),)))
        assert words in str(refused.value)


async def test_while_a_worker_is_away_a_plan_says_that_sessions_are_not_counted() -> None:
    shards = Shards()
    shards.is_away = True
    gone, *rest = DEFAULT
    wanted = with_pool(*rest, IPv4Address("192.0.2.77")).model_copy(
        update={"services": with_web(deny=(IPv4Network("198.51.100.0/24"),)).services}
    )
    plan = await plans(shards).plan(RUNNING, wanted)
    assert [change.change for change in plan.changes[-2:]] == [
        f"clients that access lists do not admit any more{NOT_COUNTED}",
        f"local address {gone} is of no service any more{NOT_COUNTED}",
    ]
    assert {change.sessions for change in plan.changes[-2:]} == {""}


async def test_what_needs_a_restart_is_all_that_is_said() -> None:
    wanted = RUNNING.model_copy(update={"gateway": RUNNING.gateway.model_copy(update={"shards": 3})})
    plan = await plans(Shards()).plan(RUNNING, wanted)
    assert (plan.changes, len(plan.needs_restart)) == ([], 1)


async def test_nothing_is_asked_for_a_change_that_concerns_no_session() -> None:
    shards = Shards()
    wanted = Wanted(read_access(RUNNING), ())
    assert await AccessControl(FakeTable(), shards).not_admitted(wanted) == {}  # type: ignore[arg-type]
    assert (await plans(shards).plan(RUNNING, RUNNING)).changes == []
    assert shards.asked == []
