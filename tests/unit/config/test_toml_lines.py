"""config/toml_lines.py: the line of each key of a document."""

import pytest

from appliance.config.toml_lines import TomlLines

SPREAD = '''\
# [nothing]
top.dotted = 1

  [plain]   # a comment
text = """
[not.a.header]
key = 1"""
list = [ # opens
  "]",

  { inner = 1 },
]
literal = \'\'\'
=\'\'\'

[[many]]
[[many.more]]
a = 1
[[many.more]]
  "b c" = 2
[many.more.deep]
d = 3
[[many]]
inline = {x = 1, y = {z = 2}}
'''


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top", "dotted"), 2),
        (("plain",), 4),
        (("plain", "text"), 5),
        (("plain", "list"), 8),
        (("plain", "list", 1, "inner"), 8),
        (("plain", "literal"), 13),
        (("many", 0), 16),
        (("many", 0, "more", 0), 17),
        (("many", 0, "more", 0, "a"), 18),
        (("many", 0, "more", 1, "b c"), 20),
        (("many", 0, "more", 1, "deep", "d"), 22),
        (("many", 1), 23),
        (("many", 1, "inline", "y", "z"), 24),
        (("many", 1, "missing"), 23),
        (("missing",), None),
        (("not",), None),
    ],
)
def test_the_line_of_a_key(newline: str, path: tuple[str | int, ...], line: int | None) -> None:
    assert TomlLines(SPREAD.replace("\n", newline)).line_of(path) == line
