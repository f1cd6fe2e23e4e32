"""The rules of ARCHITECTURE.md, held as data and checked against every import in the tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from appliance.shard.shard import Shard

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "appliance"

MAY_IMPORT: dict[str, str] = {
    "wire": "",
    "timers": "",
    "health": "",
    "attack": "",
    "model": "wire",
    "policy": "wire model",
    "ipc": "wire model",
    "config": "health model policy ipc",
    "state": "wire model policy ipc",
    "nat": "wire model ipc state",
    "sessions": "wire timers model policy ipc state nat",
    "proxy": "wire model state nat sessions",
    "shard": "wire timers model policy ipc state nat sessions proxy",
    "doctor": "wire model policy ipc",
    "edge": "wire model policy ipc doctor",
    "probes": "health policy",
    "worker": "wire model ipc sessions shard edge",
    "queue_worker": "model ipc sessions shard edge worker",
    "director": "health attack model policy ipc config sessions doctor edge probes",
    "views": "wire health attack model policy ipc doctor",
    "metrics": "attack model ipc views",
    "rest": "health attack model policy ipc doctor views metrics",
    "api": "model policy ipc views metrics rest",
    "top": "model",
    "cli": "wire model policy ipc views top",
    "lab": "config",
    "replay": "wire model ipc config shard edge director views",
    "host_commands": "replay director edge config policy ipc views api cli",
    "__main__": "edge config cli",
}
"""Folder, or file beside them -> the folders it may import, in the order of layers: each only those above it here."""

PURE = frozenset((
    "wire", "timers", "health", "attack", "model", "policy", "ipc", "config", "state", "nat", "sessions", "proxy", "shard",
    "doctor", "views", "metrics", "top",
))  # fmt: skip
"""Time, randomness and words come in as arguments here, or go out as values."""

NOT_IN_PURE = frozenset(["socket", "asyncio", "time", "random", "os", "subprocess", "threading", "logging", "select"])

THIRD_PARTY: dict[str, str] = {
    "pydantic": "config rest",
    "pydantic_core": "config",
    "netfilterqueue": "edge queue_worker",
    "prometheus_client": "metrics",
    "pyroute2": "edge lab",
    "aiohttp": "api probes rest cli lab",
    "uvloop": "host_commands lab",
    "tomlkit": "config",
    "textual": "cli",
    "rich": "cli",
    "shtab": "cli",
}
"""Library -> who may import it. dpkt is for tests: on the packet path it would cost more than the packet."""

WHY_LAYER = (
    "a folder imports only the folders that its row in MAY_IMPORT names, so that each can be read and tested without the rest"
)
WHY_PURE = "the core is told the time and has no opinion on where words go: it never touches the world"
WHY_TESTS = "it is for tests"

LONGEST_FILE_LINES = 330
LONGEST_FUNCTION_LINES = 50
MEDIAN_FUNCTION_LINES = 10


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    """The folder of a file, or the name of a file that lies beside the folders."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports: also inside functions, and also only for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def file_of(name: str) -> Path | None:
    """The file that a dotted name of the appliance is in: the name of a module, or of something in one."""
    parts = name.split(".")
    for end in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[:end])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.exists():
                return candidate
    return None


def broken_rule(path: Path, name: str) -> str | None:
    """The sentence that says which rule an import breaks; None when it is fine."""
    here = place(path)
    library, *rest = name.split(".")
    if library != "appliance":
        if here in PURE and library in NOT_IN_PURE:
            return WHY_PURE
        if library in THIRD_PARTY and here not in THIRD_PARTY[library].split():
            return f"only {', '.join(THIRD_PARTY[library].split())} may import {library}"
        return WHY_TESTS if library == "dpkt" else None
    there = rest[0] if rest else ""
    if there in ("", here, "__version__") or there in MAY_IMPORT[here].split():
        return None
    return WHY_LAYER


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_keep_the_rules(path: Path) -> None:
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    assert place(path) in MAY_IMPORT, f"{place(path)} has no row: give it one in MAY_IMPORT here and in ARCHITECTURE.md"
    broken = {name: why for name in imported(path) if (why := broken_rule(path, name))}
    assert not broken, f"{path.relative_to(ROOT)}: " + "; ".join(f"imports {name}: {why}" for name, why in broken.items())


def test_rows_only_name_rows_above_them() -> None:
    """So the rows are in the order of layers, and no two folders can import each other."""
    above: set[str] = set()
    for folder, may in MAY_IMPORT.items():
        if folder != "__main__":
            assert set(may.split()) <= above, f"{folder} may import what stands below it"
        above.add(folder)


def test_no_file_is_imported_by_what_it_imports() -> None:
    edges = {
        path: {there for name in imported(path) if name.startswith("appliance.") and (there := file_of(name))} - {path}
        for path in modules()
    }
    finished: set[Path] = set()

    def visit(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, " -> ".join(str(step.relative_to(ROOT)) for step in (*way[way.index(path) :], path))
        if path not in finished:
            for there in edges[path]:
                visit(there, (*way, path))
            finished.add(path)

    for path in modules():
        visit(path, ())


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("shard/shard.py", "time", WHY_PURE),
        ("wire/seq.py", "appliance.model.rates", WHY_LAYER),
        ("nat/icmp.py", "appliance.proxy.cookie", WHY_LAYER),
        ("edge/nft.py", "appliance.state.session", WHY_LAYER),
        ("views/counters.py", "appliance.shard.shard", WHY_LAYER),
        ("state/session.py", "dpkt", WHY_TESTS),
        ("shard/shard.py", "aiohttp.web", "only api, probes, rest, cli, lab may import aiohttp"),
        ("shard/shard.py", "appliance.wire.craft", None),
        ("rest/listen.py", "aiohttp.web", None),
    ],
)
def test_the_rules_do_bite(module: str, name: str, expected: str | None) -> None:
    assert broken_rule(PACKAGE / module, name) == expected


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules()}), ids=lambda path: path.name)
def test_each_folder_says_what_belongs_in_it_and_what_it_may_import(folder: Path) -> None:
    name = folder.name
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert text, f"{folder.relative_to(ROOT)}/__init__.py says nothing"
    if folder.parent == PACKAGE:
        assert "import" in text
        assert f"`{name}/`" in (ROOT / "ARCHITECTURE.md").read_text(), f"ARCHITECTURE.md does not name {name}/"


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", text)) - {"appliance/"}
    assert len(named) > 50
    assert [name for name in sorted(named) if not (PACKAGE / name).exists() and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE_LINES
    too_long = {name: lines for name, lines in functions(path) if lines > LONGEST_FUNCTION_LINES}
    assert not too_long


def test_most_functions_are_short() -> None:
    assert median(lines for path in modules() for _, lines in functions(path)) <= MEDIAN_FUNCTION_LINES


PACKET_PATH = frozenset(["wire", "model", "policy", "ipc", "state", "nat", "sessions", "proxy", "shard"])
KNOWS_PLACES = frozenset(("wire/family.py", "wire/flow.py", "wire/layout.py", "ipc/session_record.py", "ipc/lane_layout.py"))
"""The only files of the packet path that have a number for a place in an address, a flow's key or a header; and the layouts of
what leaves a process."""

WHY_PLACES = "ask wire.flow or wire.layout: a number for a place would have to be found again for a second address family"


_BYTES_IN_FORMAT = re.compile(r"^[!<>=].*(?<!\d)(4|6|12|16|36)s")


def places_in(path: Path) -> Iterator[str]:
    """What looks like a number for a place in packet bytes: a slice from or to one, a size of bytes in a struct format."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            bounds = [bound.value for bound in (node.slice.lower, node.slice.upper) if isinstance(bound, ast.Constant)]
            if any(isinstance(bound, int) and bound > 1 for bound in bounds):
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _BYTES_IN_FORMAT.search(node.value):
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Call) and ast.unparse(node) in ("bytes(4)", "bytes(6)", "bytes(12)"):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "path", [path for path in modules() if place(path) in PACKET_PATH], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_other_file_knows_where_an_address_lies(path: Path) -> None:
    found = list(places_in(path))
    assert not found or str(path.relative_to(PACKAGE)) in KNOWS_PLACES, f"{WHY_PLACES}: {found}"


@pytest.mark.parametrize("code", ["x = key[:4]", "x = key[4:8]", "x = key[8:]", 's = Struct("!12sHH")', "x = bytes(12)"])
def test_a_number_for_a_place_is_noticed(tmp_path: Path, code: str) -> None:
    (tmp_path / "some.py").write_text(code)
    assert list(places_in(tmp_path / "some.py"))


def test_a_shard_is_what_its_contract_says() -> None:
    """Its docstring names each call, and its worker uses each."""
    public = {name for name in vars(Shard) if not name.startswith("_")}
    named = set(re.findall(r"`(\w+)`", Shard.__doc__ or "")) - {"output", "now", "sessions"}
    assert public == named
    used = "".join((PACKAGE / name).read_text() for name in ("queue_worker.py", "worker/control_channel.py"))
    assert {name for name in public if not re.search(rf"\.{name}\b", used)} == set()
