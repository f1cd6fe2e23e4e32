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

_ON_OTHER_PAGES = {
    "[sysctl]": "Each key is the name of a tunable; [the page of tunables](tunables.md) has them all, with default and range.",
    "[host.sysctl]": "Each key is the name of a parameter of the host's kernel; [the page of host parameters](host-parameters.md)"
    " has them all, with range and meaning. A value is an integer, or a list of integers when there are several: "
    "`tcp_rmem = [4096, 131072, 6291456]`; or the same as text, as `sysctl` shows it. One with a value for each interface is set "
    "at the interfaces of the gateway. A value that the kernel refuses, or a parameter that it does not have, is logged, and the "
    "appliance starts without it.",
}
"""By header, what stands in place of keys that have a page of their own."""


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
    if section.header in _ON_OTHER_PAGES:
        yield paragraph(_ON_OTHER_PAGES[section.header])
        return
    table = section.header.strip("[]")
    for key in section.keys:
        yield f"### {code(f'{table}.{key.name}')}"
        yield paragraph(key.meaning)
        yield paragraph(_facts(key))


def _facts(key: Key) -> str:
    default = "Required" if key.default is None else f"Default: {key.default}"
    return f"Allowed: {key.allowed}{f' {key.unit}' if key.unit else ''}. {default}."
