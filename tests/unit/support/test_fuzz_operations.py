"""The language of the fuzzers: bytes that name operations, and what is told when one of them breaks a rule."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.shard.shard import Shard
from tests.support.fuzz_operands import Operands
from tests.support.fuzz_operations import OPERATIONS, Operation, play, split
from tests.support.fuzzed_shard import SCENE_BYTES, FuzzedShard

OF_THE_CORPUS = (
    "segment 14, answer 9, answer 9, wait 2, expire 1, datagram 8, icmp_error 12, again 13, raw 63, crowd 4, chorus 2, "
    "tunable 2, ports 2, route 2, reload 3, settle 0, publish 0, neighbour 2, ask 7, step 1, odd_options 54"
)
"""Operations and their operand bytes, by number, as the inputs in the corpus use them."""

NUMBERS = {operation.act.__name__.strip("_"): number for number, operation in enumerate(OPERATIONS)}

TWO_SESSIONS = bytes((NUMBERS["crowd"], 2)) + bytes(OPERATIONS[NUMBERS["crowd"]].operand_bytes - 1)


def test_inputs_that_were_found_once_go_on_meaning_the_same() -> None:
    """A new operation goes to the end of this list."""
    known = ", ".join(f"{operation.act.__name__.strip('_')} {operation.operand_bytes}" for operation in OPERATIONS)
    assert known.startswith(OF_THE_CORPUS)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("byte", [0, 1, 255])
def test_every_operation_can_happen_with_and_without_sessions(name: str, byte: int) -> None:
    number = NUMBERS[name]
    operation = bytes((number,)) + bytes((byte,)) * OPERATIONS[number].operand_bytes
    shard = play(bytes(SCENE_BYTES) + operation + TWO_SESSIONS + operation)
    assert shard.world.transcript.count(f"_{name}:") == 2 + (name == "crowd")


class Counted(Operands):
    """Operands that know how many bytes were taken."""

    taken = 0

    def take(self, count: int) -> bytes:
        self.taken += count
        return super().take(count)


@given(st.sampled_from(OPERATIONS), st.binary(min_size=64, max_size=64))
def test_an_operation_reads_no_more_operands_than_it_has(operation: Operation, data: bytes) -> None:
    """So one can be left out without another meaning for those behind it."""
    operands = Counted(data)
    operation.act(play(bytes(SCENE_BYTES) + TWO_SESSIONS), operands)
    assert operands.taken <= operation.operand_bytes


@given(st.binary(max_size=300))
def test_a_story_is_its_scene_and_its_operations(data: bytes) -> None:
    parts = split(data)
    assert (data[:SCENE_BYTES] + b"".join(parts)).rstrip(b"\0") == data.rstrip(b"\0")
    for part in parts:
        assert len(part) == 1 + OPERATIONS[part[0] % len(OPERATIONS)].operand_bytes


def test_what_breaks_a_rule_is_raised_with_everything_that_happened_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FuzzedShard, "check", fails_at_the_second_look())
    syn = bytes((NUMBERS["segment"],)) + bytes(OPERATIONS[NUMBERS["segment"]].operand_bytes)
    with pytest.raises(AssertionError, match="broken") as raised:
        play(bytes(SCENE_BYTES) + syn * 3)
    (note,) = raised.value.__notes__
    assert note.splitlines()[0] == "_segment:"
    assert note.count("_segment:") == note.count("<rewritten to_real_server>") == 2


def fails_at_the_second_look() -> Callable[[FuzzedShard], None]:
    looks = list[int]()

    def check(_: FuzzedShard) -> None:
        looks.append(1)
        assert len(looks) < 2, "broken"

    return check


def test_an_error_of_the_shard_is_raised_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(*_: object) -> None:
        raise ValueError("an error of ours")

    monkeypatch.setattr(Shard, "handle", handle)
    with pytest.raises(ValueError, match="an error of ours") as raised:
        play(bytes(SCENE_BYTES + 1))
    assert raised.value.__notes__ == ["_segment:"]
