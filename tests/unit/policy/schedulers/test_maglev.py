"""maglev.py: an address stays where it is, while a table is built and afterwards."""

from appliance.policy.schedulers.contract import Setup
from appliance.policy.schedulers.maglev import Maglev
from appliance.policy.schedulers.maglev_table import MaglevTables
from appliance.policy.schedulers.source_hash import SourceHash
from tests.support.candidates import Server, client_key, picks, servers, setup

CLIENTS = 2000


class Built:
    """A scheduler with its tables."""

    def __init__(self, shard: int = 0) -> None:
        self.tables = MaglevTables()
        self.scheduler = Maglev(Setup(shard, self.tables, 4093))

    def build(self) -> None:
        while self.tables.build_some():
            pass

    def owners(self, candidates: tuple[Server, ...]) -> list[bytes]:
        """The endpoint that each client goes to."""
        found = (self.scheduler.pick(candidates, client_key(number), 0.0) for number in range(CLIENTS))
        return [server.endpoint for server in found if server]

    def owners_when_built(self, candidates: tuple[Server, ...]) -> list[bytes]:
        self.owners(candidates)
        self.build()
        return self.owners(candidates)


def test_the_answer_is_the_same_in_every_shard_in_every_order_and_after_whatever_has_been_before() -> None:
    candidates, one, another = servers(1, 2, 3), Built(), Built(shard=5)
    another.owners_when_built(servers(1, 2, 3, 4))
    another.owners_when_built(servers(2, 2))
    wanted = one.owners_when_built(candidates)
    assert another.owners_when_built(candidates[::-1]) == wanted
    assert len(set(wanted)) == 3


def test_until_there_is_a_table_it_is_as_by_source_hash() -> None:
    candidates, one = servers(1, 2, 3), Built()
    by_hash = [candidates[index].endpoint for index in picks(SourceHash(setup()), candidates, CLIENTS) if index is not None]
    assert one.owners(candidates) == by_hash
    assert one.owners_when_built(candidates) != by_hash


def test_the_old_table_serves_until_the_new_one_is_complete_and_spares_who_takes_no_new_ones() -> None:
    candidates, one = servers(1, 1, 1, 1), Built()
    before, down = one.owners_when_built(candidates), candidates[2].endpoint
    left = tuple(server for server in candidates if server.endpoint != down)
    meanwhile = one.owners(left)
    assert all(new == old for old, new in zip(before, meanwhile, strict=True) if old != down), "nobody else moves"
    assert {new for old, new in zip(before, meanwhile, strict=True) if old == down} == {server.endpoint for server in left}
    by_hash = [left[index].endpoint for index in picks(SourceHash(setup()), left, CLIENTS) if index is not None]
    homeless = [number for number, old in enumerate(before) if old == down]
    assert [meanwhile[number] for number in homeless] != [by_hash[number] for number in homeless], (
        "by the table, and not as by `sh`"
    )
    one.build()
    afterwards = one.owners(left)
    assert afterwards == Built().owners_when_built(left)
    assert sum(new != old for old, new in zip(before, afterwards, strict=True) if old != down) < CLIENTS / 10


def test_when_all_of_the_table_are_gone_others_serve_at_once() -> None:
    one, others = Built(), servers(1, 1, first=10)
    one.owners_when_built(servers(1, 1))
    assert set(one.owners(others)) == {server.endpoint for server in others}


def test_a_change_back_before_the_table_was_built_needs_no_other_one() -> None:
    candidates, one = servers(1, 1, 1), Built()
    before = one.owners_when_built(candidates)
    one.owners(servers(1, 1))
    assert one.owners((*candidates,)) == before
