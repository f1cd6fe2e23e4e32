"""sessions/pools.py: what the shard reads in the lines of a pool is what a program has done, in whatever order and amount."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.admission_layout import (
    GONE,
    LINE_OFFSETS,
    LINE_PLACES,
    PLACE_LET_GO,
    PLACE_OUT,
    PLACE_TAKEN,
    PLACE_VOID,
)
from appliance.sessions.pools import Homes, Line
from tests.support.lane_maps import FakeMaps

HEAD, TAIL, PLACES = (LINE_OFFSETS[name] // 8 for name in ("head", "tail", "places"))
ENTRIES = 6
LAST_TIME = 99
AT_WORK = (PLACE_OUT, PLACE_LET_GO)


class Program:
    """Puts endpoints in line and takes them, as a program does; a step at a time, so the shard may read in between."""

    def __init__(self, start: int) -> None:
        self.maps = FakeMaps(4096)
        self.homes = Homes(self.maps)
        self.longs = self.maps.lines.cast("Q")
        self.longs[TAIL] = start
        for number in range(start - LINE_PLACES, start):  # as they were last time around
            self.longs[PLACES + number % LINE_PLACES] = (number & 0xFFFFFFFF) << 32 | LAST_TIME
        self.line = Line(self.maps, self.homes, 0, 0)
        self.cells = self.maps.homes.cast("I")
        self.opened, self.void, self.ended = Counter[int](), Counter[int](), Counter[int]()

    def comes(self, entry: int, *, is_written: bool) -> None:
        """An endpoint gets in line; its place is not written yet, or is at once."""
        number = self.longs[TAIL]
        self.longs[TAIL] = number + 1
        self.put_home(entry, number % LINE_PLACES)
        if is_written:
            self.write(number, entry)

    def write(self, number: int, entry: int) -> None:
        self.longs[PLACES + number % LINE_PLACES] = (number & 0xFFFFFFFF) << 32 | entry
        self.ended[entry] += 1

    def put_home(self, entry: int, place: int) -> None:
        self.cells[2 * entry + 1] = place

    def read(self) -> tuple[list[int], list[int], list[int]]:
        """What the shard finds: opened, void, ended."""
        opened, void = list[int](), list[int]()
        ended = self.line.ended()
        self.line.taken(opened, void)
        return opened, void, ended


@given(
    st.sampled_from([LINE_PLACES, 2 * LINE_PLACES - 3, (1 << 32) - 2, (1 << 33) + 5]),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([PLACE_TAKEN, PLACE_VOID, *AT_WORK])), max_size=60),
)
def test_each_move_is_read_once_and_what_is_not_known_yet_later(start: int, steps: list[tuple[int, int]]) -> None:
    """Endpoints come, are taken, come to nothing, are taken out and put back; the shard reads when it likes."""
    program = Program(start)
    waiting, out = list[int](), list(range(1, ENTRIES + 1))
    unwritten: tuple[int, int] | None = None
    unknown = dict[int, int]()
    seen_opened, seen_void, seen_ended = Counter[int](), Counter[int](), Counter[int]()
    for step, mark in steps:
        if step < 2 and out:
            entry = out.pop(0)
            is_written = step == 0 or unwritten is not None
            if not is_written:
                unwritten = (program.longs[TAIL], entry)
            program.comes(entry, is_written=is_written)
            waiting.append(entry)
        elif step == 2 and unwritten is not None:
            program.write(*unwritten)
            unwritten = None
        elif step in (3, 4) and waiting and (unwritten is None or waiting[0] != unwritten[1]) and not unknown:
            entry = waiting.pop(0)
            program.longs[HEAD] += 1
            program.put_home(entry, mark)
            if mark in AT_WORK:
                unknown[entry] = mark
            else:
                (program.opened if mark == PLACE_TAKEN else program.void)[entry] += 1
                if mark == PLACE_TAKEN:
                    out.append(entry)
        elif step == 5 and unknown:
            entry = unknown.popitem()[0]
            program.put_home(entry, PLACE_TAKEN)
            program.opened[entry] += 1
            out.append(entry)
        else:
            opened, void, ended = program.read()
            seen_opened.update(opened)
            seen_void.update(void)
            seen_ended.update(ended)
            assert seen_opened <= program.opened
            assert seen_void <= program.void
            assert seen_ended <= program.ended
    if unwritten is not None:
        program.write(*unwritten)
    for entry in unknown:
        program.put_home(entry, PLACE_TAKEN)
        program.opened[entry] += 1
    for _ in range(2):  # what is known to have come only now is told the second time
        opened, void, ended = program.read()
        seen_opened.update(opened)
        seen_void.update(void)
        seen_ended.update(ended)
    assert (seen_opened, seen_void, seen_ended) == (program.opened, program.void, program.ended)
    assert not program.line.has_moved


def test_one_that_was_taken_out_is_passed_over() -> None:
    program = Program(LINE_PLACES)
    for entry in (1, 2, 3):
        program.comes(entry, is_written=True)
    assert program.read() == ([], [], [1, 2, 3])
    program.line.take_out(program.homes.place(2) % LINE_PLACES)
    program.homes.clear(2)
    assert program.longs[PLACES + 1] & 0xFFFFFFFF == GONE
    program.longs[HEAD] += 3
    for entry in (1, 3):
        program.put_home(entry, PLACE_TAKEN)
    assert program.read() == ([1, 3], [], [])
