"""The layers of ARCHITECTURE.md, held as data and checked against every import in the tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "appliance"

_MODULES_BY_LAYER = """
0  wire
1  model verdict tcp_state timers tunables stats rates shared_state control steering ruleset schedulers
1  config config_model config_checks config_errors toml_lines nearest reload
1  offer storm defence conn_query
2  rewrite population service conn conn_table settings ratelimit sanity listing outbox
3  nat proxy
4  admission sessions strangers synproxy newcomers long_way shard slabs conn_walk
5  edge
6  queue_worker supervisor inquiry host director
7  api api_conns responses views views_conns listen negotiation asked_value problem lab __main__
7  operator_cli api_client
"""

LAYERS = {name: int(layer) for layer, *names in map(str.split, _MODULES_BY_LAYER.strip().splitlines()) for name in names}
"""Top-level module or package -> layer."""

WHY_LOWER = "a layer knows only those below it, so that the core can be read, and tested, without the rest"

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("director", "api"): "the director starts the API and hands itself over; the API knows it only as a Protocol",
    ("director", "views"): "the sampler and the state of shards are told in the words of the views",
}
"""Imports upwards, each with its reason."""

EDGE_MAY = (0, 1)
WHY_EDGE = "the edge has no opinions about packets: it sees names, bytes and rendered text, never sessions"

SURFACES_MAY_NOT = range(2, 6)
WHY_SURFACES = "the API, the views and the lab speak of what is configured and counted, never of packets or kernel calls"

WHY_L3 = "the packages of L3 never meet: admission and the shard introduce them"

FORBIDDEN_IN_CORE = frozenset(("socket", "asyncio", "time", "random", "os", "subprocess", "threading", "logging", "select"))
WHY_CORE = "in L0 to L4 time, randomness and words come in as arguments or go out as values"

CORE_LAYERS = range(5)

THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "pydantic": ("config", "config_model"),
    "pydantic_core": ("config", "config_model"),
    "netfilterqueue": ("edge", "queue_worker"),
    "pyroute2": ("edge", "lab"),
    "aiohttp": ("api", "api_conns", "responses", "listen", "problem", "api_client", "lab"),
    "uvloop": ("__main__", "lab"),
}
"""Library -> who may know it. dpkt is for tests: on the packet path it would cost more than the packet."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def top(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Dotted names of everything the file imports, also inside functions, but not only for type checking."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            from_package = node.module == "appliance"
            names += [f"appliance.{alias.name}" for alias in node.names] if from_package else [node.module]
    return names


def broken_rule(path: Path, name: str) -> str | None:
    """The sentence that says which rule an import breaks; None when it is fine."""
    here = top(path)
    layer = LAYERS[here]
    library, _, rest = name.partition(".")
    if library != "appliance":
        if layer in CORE_LAYERS and library in FORBIDDEN_IN_CORE:
            return WHY_CORE
        if library in THIRD_PARTY and here not in THIRD_PARTY[library]:
            return f"only {', '.join(THIRD_PARTY[library])} may know {library}"
        return "it is for tests" if library == "dpkt" else None
    there = rest.split(".")[0]
    if there in ("", here, "__version__") or (here, there) in EXCEPTIONS:
        return None
    if LAYERS[there] > layer:
        return WHY_LOWER
    if layer == LAYERS[there] == 3:
        return WHY_L3
    if here == "edge" and LAYERS[there] not in EDGE_MAY:
        return WHY_EDGE
    if layer == 7 and here not in ("lab", "__main__") and LAYERS[there] in SURFACES_MAY_NOT:
        return WHY_SURFACES
    return None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    assert top(path) in LAYERS, f"{path.name} has no layer: put it into LAYERS here and into ARCHITECTURE.md"
    broken = {name: why for name in imported(path) if (why := broken_rule(path, name))}
    assert not broken, f"{path.relative_to(ROOT)}: " + "; ".join(f"imports {name}: {why}" for name, why in broken.items())


def test_every_exception_is_used() -> None:
    used = {(top(path), name.split(".")[1]) for path in modules() for name in imported(path) if name.startswith("appliance.")}
    assert set(EXCEPTIONS) <= used


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("shard.py", "time", WHY_CORE),
        ("wire/seq.py", "appliance.model", WHY_LOWER),
        ("nat/icmp.py", "appliance.proxy.cookie", WHY_L3),
        ("edge/nft.py", "appliance.conn", WHY_EDGE),
        ("views.py", "appliance.shard", WHY_SURFACES),
        ("conn.py", "dpkt", "it is for tests"),
        ("shard.py", "aiohttp", "only api, api_conns, responses, listen, problem, api_client, lab may know aiohttp"),
        ("shard.py", "appliance.wire.craft", None),
    ],
)
def test_the_rules_do_bite(module: str, name: str, expected: str | None) -> None:
    assert broken_rule(PACKAGE / module, name) == expected


def test_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    names = {str(path.relative_to(PACKAGE)) for path in modules() if path.name != "__init__.py"}
    missing = sorted(name for name in names if f"`{name.removesuffix('.py')}`" not in text and f"`{name}`" not in text)
    assert not missing, f"ARCHITECTURE.md does not name {missing}"


def test_files_and_functions_stay_small() -> None:
    """Hard stops; the aim is 300 lines a file and ten a function."""
    for path in modules():
        text = path.read_text()
        assert len(text.splitlines()) <= 500, f"{path.name} has grown too long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{path.name}: {node.name} has grown too long"
