"""config/toml_lines.py: the line of each key of a document."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# Text that is full of what means something elsewhere.
_TEXTS = st.text(alphabet="[]{}#,=a1 ", max_size=8)
_BASIC = st.lists(_TEXTS | st.sampled_from([r"\"", r"\\", "'", "'''"]), max_size=4).map("".join)
_IN_LINES = st.lists(_TEXTS | st.sampled_from(["\n", "a'", 'a"', 'a""', "\n[x]\n"]), max_size=4).map("".join)
_STRINGS = st.one_of(
    _BASIC.map(lambda text: f'"{text}"'),
    _TEXTS.map(lambda text: f"'{text}\"\\'"),
    st.builds('"""{}b{}"""'.format, _IN_LINES, st.sampled_from(["", '"', '""', r"\"", r"\\"])),
    st.builds("'''{}b{}'''".format, _IN_LINES, st.sampled_from(["", "'", "''", "\\"])),
)
_VALUES = st.recursive(
    _STRINGS | st.just("1"),
    lambda child: (
        st.lists(child, max_size=3).map(lambda parts: "[ # ]\n" + ",\n".join(parts) + "\n# '[\n]")
        | child.map("{{a = {}}}".format)
    ),
    max_leaves=4,
)


@given(st.lists(_VALUES, min_size=1, max_size=5), st.sampled_from(["", " # [", " # '", ' # """']))
def test_every_key_has_its_line_whatever_the_values_before_it(values: list[str], comment: str) -> None:
    text, wanted = "", {}
    for number, value in enumerate(values):
        wanted[f"k{number}"] = text.count("\n") + 1
        text += f"k{number} = {value}{comment}\n"
    lines = TomlLines(text)
    assert {key: lines.line_of((key,)) for key in wanted} == wanted


@pytest.mark.parametrize("item", ['"]",\n', '"1.2.3.4", # ]\n', "[1],\n", "'''\n''',\n"])
def test_no_part_of_a_long_list_is_read_twice(item: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"list = [\n{item * 1000}]\nkey = 1\n"
    read, loads = [], tomllib.loads

    def counting(statement: str) -> dict[str, Any]:
        read.append(statement)
        return loads(statement)

    monkeypatch.setattr(tomllib, "loads", counting)
    assert TomlLines(text).line_of(("key",)) == text.count("\n")
    assert "".join(read) == text
