"""When lines of the log were written."""

from collections.abc import Sequence
from itertools import pairwise


def assert_once_a_look(lines: Sequence[str]) -> None:
    """The director looks at counters every two seconds, and logs each kind of event once: the times at the beginnings of these
    lines, whole seconds, are that far apart."""
    seconds = [sum(int(part) * unit for part, unit in zip(line[11:19].split(":"), (3600, 60, 1), strict=True)) for line in lines]
    assert lines
    assert all((later - earlier) % 86_400 >= 1 for earlier, later in pairwise(seconds))
