"""The program that the fuzzer runs, in a process of its own, because libFuzzer ends its process. The arguments are
libFuzzer's."""

import gc
import random
import sys

import atheris

with atheris.instrument_imports(include=["appliance"]):
    from tests.support.fuzz_operations import OPERATIONS, play, split
    from tests.support.fuzzed_shard import SCENE_BYTES


def one_input(data: bytes) -> None:
    """Play one input. libFuzzer writes it to a file when it raises."""
    play(data)


def mutated(data: bytes, most_bytes: int, seed: int) -> bytes:
    """Another input made of this one: with an operation added, removed, moved or given other operands, or with any bytes changed
    as libFuzzer does it. Most changes of any bytes change the meaning of all bytes after them."""
    chance = random.Random(seed)
    if chance.random() < 0.2:
        return bytes(atheris.Mutate(data, most_bytes))
    scene, operations = data[:SCENE_BYTES].ljust(SCENE_BYTES, b"\0"), split(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, way = chance.randint(0, len(operations)), chance.random()
        if way < 0.1:
            scene = _with_another_byte(scene, chance)
        elif way < 0.5 or not operations:
            operations.insert(place, _any_operation(chance))
        elif way < 0.8:
            place = place % len(operations)
            operations[place] = operations[place][:1] + _with_another_byte(operations[place][1:], chance)
        else:
            moved = operations.pop(place % len(operations))
            if way < 0.9:
                operations.insert(chance.randint(0, len(operations)), moved)
    return (scene + b"".join(operations))[:most_bytes]


def _any_operation(chance: random.Random) -> bytes:
    """An operation most of whose operands are zero, the most usual choice."""
    number = chance.randrange(len(OPERATIONS))
    operands = (chance.choice((0, 0, chance.randrange(256))) for _ in range(OPERATIONS[number].operand_bytes))
    return bytes((number, *operands))


def _with_another_byte(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    return data[:place] + bytes((chance.choice((0, chance.randrange(256))),)) + data[place + 1 :]


if __name__ == "__main__":
    # A world has ten thousand containers. With the usual threshold, collecting them would take longer than everything else.
    gc.freeze()
    gc.set_threshold(100_000)
    atheris.Setup(sys.argv, one_input, custom_mutator=mutated)
    atheris.Fuzz()
