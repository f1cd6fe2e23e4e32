"""What the fuzzer runs, in a process of its own: libFuzzer ends that process itself. The arguments are libFuzzer's."""

import gc
import random
import sys

import atheris

with atheris.instrument_imports(include=["appliance"]):
    from tests.support.fuzz_operations import OPERATIONS, play, split
    from tests.support.fuzzed_shard import SCENE_BYTES


def one_input(data: bytes) -> None:
    """Play one life of a shard; any exception is a find, which libFuzzer writes to a file."""
    play(data)


def mutated(data: bytes, most_bytes: int, seed: int) -> bytes:
    """The life told otherwise: an operation more or less, or moved, or with other operands; or any bytes changed as libFuzzer
    does it. Most changes of bytes alone would turn all that follows into something else."""
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
    """Its operands are ordinary in most places: see `fuzz_operands`."""
    number = chance.randrange(len(OPERATIONS))
    operands = (chance.choice((0, 0, chance.randrange(256))) for _ in range(OPERATIONS[number].operand_bytes))
    return bytes((number, *operands))


def _with_another_byte(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    return data[:place] + bytes((chance.choice((0, chance.randrange(256))),)) + data[place + 1 :]


if __name__ == "__main__":
    # A world is ten thousand containers: with the usual threshold collecting them takes longer than all else.
    gc.freeze()
    gc.set_threshold(100_000)
    atheris.Setup(sys.argv, one_input, custom_mutator=mutated)
    atheris.Fuzz()
