"""A shard with every packet and every look at its timers checked: each check can fail."""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.ipc.queries import ROWS, Query, SessionFilter
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.shard.shard import Shard
from tests.support.addresses import C0, CLIENT, LIP1, RS1, VIP
from tests.support.fuzz_operands import Operands
from tests.support.fuzzed_shard import SCENE_BYTES, FuzzedShard, lport_range
from tests.support.segments import read_tcp, tcp
from tests.support.world import World

SYN = tcp(CLIENT, VIP, "S", seq=C0)


def usual(scene: bytes = b"") -> FuzzedShard:
    """A shard in the scene of all zeros, or another."""
    return FuzzedShard(Operands(scene.ljust(SCENE_BYTES, b"\0")))


class TestScene:
    """What the first bytes decide."""

    def test_zeros_are_one_shard_without_synproxy_and_with_the_defaults(self) -> None:
        shard = usual()
        assert (shard.plan.shard, shard.plan.shards) == (0, 1)
        assert [(service.name, service.synproxy) for service in shard.plan.services] == [
            ("web", "never"), ("api", "never"), ("dns", "never"),
        ]  # fmt: skip
        assert shard.world.shared.tunable("conn_max") == 1_048_576

    def test_each_real_server_has_counters_of_its_own(self) -> None:
        slots = [each.slot for service in usual().plan.services for each in service.real_servers]
        assert sorted(slots) == list(range(usual().plan.destinations))

    @pytest.mark.parametrize("byte", range(8))
    def test_a_range_of_local_ports_has_one_for_each_of_two_shards(self, byte: int) -> None:
        range_ = lport_range(Operands(bytes((byte, byte))))
        assert 1024 < range_["fullnat_lport_min"] < range_["fullnat_lport_max"] <= 65_535

    def test_a_shard_reads_no_more_bytes_than_a_scene_has(self) -> None:
        operands = Operands(bytes(SCENE_BYTES))
        FuzzedShard(operands)
        assert operands._at <= SCENE_BYTES


class TestPut:
    """A packet is handed in."""

    def test_what_came_of_it_is_remembered_the_newest_first(self) -> None:
        shard = usual()
        shard.put(SYN)
        shard.put(b"")
        assert list(shard.sent) == [b"", SYN]
        assert [read_tcp(raw).destination for raw in shard.received] == [RS1]

    def test_no_more_of_a_packet_is_handed_in_than_a_queue_copies(self) -> None:
        shard = usual()
        shard.put(bytes(5000))
        assert len(shard.sent[0]) == 3840

    @pytest.mark.parametrize(
        ("complaint", "rewritten"),
        [
            ("to or from somebody else", tcp(CLIENT, CLIENT, "S")),
            ("a checksum was repaired or broken", tcp(LIP1.packed + b"\x13\x88", RS1, "S")[:-1] + b"x"),
            ("data changed", tcp(LIP1.packed + b"\x13\x88", RS1, "S", data=b"x")),
            ("a client claims an address", tcp(LIP1.packed + b"\x13\x88", RS1, "S", options=bytes.fromhex("fe0800010a000001"))),
        ],
    )
    def test_a_packet_that_was_rewritten_wrongly_is_noticed(
        self, monkeypatch: pytest.MonkeyPatch, complaint: str, rewritten: bytes
    ) -> None:
        shard = usual()

        def put(world: World, _: bytes) -> Verdict:
            world._on_the_wire.append(rewritten)
            return verdicts.TO_REAL_SERVER

        monkeypatch.setattr(World, "put", put)
        with pytest.raises(AssertionError, match=complaint):
            shard.put(SYN)

    @pytest.mark.parametrize(
        ("complaint", "damage"),
        [
            ("verdicts", lambda shard: shard.shared.table(0, "verdicts").__setitem__(0, 7)),
            ("packets of real servers", lambda shard: first_real_server(shard).counts.__setitem__(1, 7)),
        ],
    )
    def test_a_packet_that_is_counted_twice_or_elsewhere_is_noticed(
        self, monkeypatch: pytest.MonkeyPatch, complaint: str, damage: Callable[[Any], None]
    ) -> None:
        shard = usual()
        real_handle = Shard.handle

        def handle(core: Any, raw: bytes, now: float) -> Verdict:
            verdict = real_handle(core, raw, now)
            damage(shard.world)
            return verdict

        monkeypatch.setattr(Shard, "handle", handle)
        with pytest.raises(AssertionError, match=complaint):
            shard.put(b"")

    def test_a_session_too_many_is_noticed(self) -> None:
        shard = usual()
        before = shard._tally()
        for port in range(3):
            shard.world.put(tcp(CLIENT[:4] + bytes((99, port)), VIP, "S"))
        shard.world.shared.set_tunables({"conn_max": 1})
        with pytest.raises(AssertionError, match="over conn_max"):
            shard._check_tally(before, verdicts.TO_REAL_SERVER)

    def test_a_damaged_packet_that_began_something_is_noticed(self) -> None:
        with pytest.raises(AssertionError, match="a damaged packet began something"):
            usual()._check_segment(SYN[:36] + b"xx" + SYN[38:], verdicts.TO_REAL_SERVER, True)

    def test_a_cookie_for_a_client_whose_real_server_is_asked_is_noticed(self) -> None:
        shard = usual()
        shard.put(SYN)
        with pytest.raises(AssertionError, match="a client is asked for a proof"):
            shard._check_segment(SYN, verdicts.COOKIE_SENT, False)


def first_real_server(world: World) -> Any:
    service, *_ = world.inside._services.values()
    return service.all_real_servers[0]


class TestTime:
    """The timers are looked at, and everything ends."""

    def test_a_session_that_does_not_end_in_its_time_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shard = usual()
        shard.put(SYN)
        shard.world.now += 1_000_000
        monkeypatch.setattr(Shard, "on_tick", lambda *_: False)
        with pytest.raises(AssertionError, match="a session should have ended"):
            shard.expire_all()

    def test_timers_that_never_come_to_an_end_are_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Shard, "on_tick", lambda *_: True)
        with pytest.raises(AssertionError, match="looking at the timers never ends"):
            usual().expire_all()

    def test_a_session_that_is_left_at_the_end_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shard = usual()
        shard.put(SYN)
        monkeypatch.setattr(FuzzedShard, "expire_all", lambda _: None)
        with pytest.raises(AssertionError):
            shard.finish()

    def test_everything_ends_in_an_ordinary_shard(self) -> None:
        shard = usual()
        shard.put(SYN)
        shard.finish()
        assert shard.sessions() == []


class TestChanges:
    """What operators, reloads and the other shard do."""

    def test_a_range_of_ports_that_leaves_a_shard_without_one_is_not_written(self) -> None:
        shard = usual(b"\1")
        assert shard.plan.shards == 2
        before = shard.world.shared.tunable("fullnat_lport_max")
        shard.write({"fullnat_lport_max": shard.world.shared.tunable("fullnat_lport_min")})
        assert shard.world.shared.tunable("fullnat_lport_max") == before
        shard.write({"fullnat_lport_max": before + 2})
        assert shard.world.shared.tunable("fullnat_lport_max") == before + 2

    def test_only_another_shard_is_told_of(self) -> None:
        for scene, expected in ((b"", [0]), (b"\1", [0, 7]), (b"\2", [7, 0])):
            shard = usual(scene)
            shard.tell_of_the_other_shard(7, 3)
            assert list(shard.world.shared.session_counts) == expected

    def test_a_reload_may_take_a_real_server_away(self) -> None:
        shard = usual()
        shard.reload([6, 0, 0])
        assert shard.put(SYN) is verdicts.NO_REAL_SERVER
        assert not shard._are_settled
        shard.settle()
        assert shard._are_settled

    def test_one_question_too_many_ends_the_oldest(self) -> None:
        shard = usual()
        for _ in range(6):
            shard.ask(Query(ROWS, SessionFilter()))
        assert len(shard.walks) == 4

    def test_an_answer_that_ended_at_its_limit_is_gone_on_with(self) -> None:
        shard = usual()
        for port in range(3):
            shard.put(tcp(CLIENT[:4] + bytes((99, port)), VIP, "S"))
        shard.ask(Query(ROWS, SessionFilter(), limit=1))
        steps = 0
        while shard.walks:
            shard.step(shard.walks[0])
            steps += 1
        assert steps >= 3
