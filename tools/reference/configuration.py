"""The page of all keys of lvs.toml."""

from collections.abc import Iterator

from appliance.config.keys import Key, Section, sections
from tools.reference.markdown import Entry, code, paragraph, sentence
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
The configuration is one TOML file, by default `/etc/appliance/lvs.toml`. `appliance check FILE` names every mistake in it, with
its line; it needs no root. A key that is not described here is an error. `etc/lvs.toml` in the repository is an example with
comments. [How to reload](../how-to/reload.md) says which changes need a restart.
"""

_START_VALUES = "[sysctl]"
_TUNABLES = "Each key is the name of a tunable; [the page of tunables](tunables.md) has them all, with default and range."


def entries() -> list[Entry]:
    """All tables and all keys."""
    tables = [Entry(section.header, section.meaning) for section in sections()]
    return tables + [Entry(f"{section.header} {key.name}", key.meaning) for section in sections() for key in section.keys]


def page() -> str:
    """The page."""
    blocks = (block for section in sections() for block in _table(section))
    return whole_page("The configuration file", paragraph(_INTRODUCTION), *blocks)


def _table(section: Section) -> Iterator[str]:
    yield f"## {code(section.header)}"
    yield paragraph(sentence(section.meaning))
    if section.header == _START_VALUES:
        yield paragraph(_TUNABLES)
        return
    table = section.header.strip("[]")
    for key in section.keys:
        yield f"### {code(f'{table}.{key.name}')}"
        yield paragraph(key.meaning)
        yield paragraph(_facts(key))


def _facts(key: Key) -> str:
    default = "Required" if key.default is None else f"Default: {key.default}"
    return f"Allowed: {key.allowed}{f' {key.unit}' if key.unit else ''}. {default}."
