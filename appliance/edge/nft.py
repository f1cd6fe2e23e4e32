"""Loads a rendered ruleset and removes it again: our table and our iptables chain, nothing else.

The nft text replaces the table in one transaction. The iptables chain of the compat back end is loaded before the table that
marks packets for it, and removed after that table, so there is never a marked packet without a queue.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from appliance.edge import nft_dump
from appliance.edge.errors import EdgeError
from appliance.policy.access_rules import ACCESS_TABLE, Loaded, render_removal
from appliance.policy.ruleset import IPTABLES_CHAIN, IPTABLES_JUMPS, TABLE, Ruleset

_TOOL_S = 60.0
"""How long a tool may take: far longer than any rules need. All that changes the rules, and the end of a run, waits for it."""

_OWNED = re.compile(r"^\s*flags\b.*\bowner\b", re.MULTILINE)

_PROBE = "table ip appliance_probe {\n\tchain probe {\n\t\tqueue num 0\n\t}\n}\n"


def _run(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_TOOL_S)
    except FileNotFoundError as error:
        raise EdgeError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise EdgeError(f"{command[0]} has not answered within {_TOOL_S:.0f} s") from error


def _must(*command: str, text: str | None = None) -> str:
    done = _run(*command, text=text)
    if done.returncode:
        raise EdgeError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def kernel_has_queue_statement() -> bool:
    """Whether nftables has the queue statement in this kernel. A table with one is checked and not loaded. Raises EdgeError
    without CAP_NET_ADMIN."""
    done = _run("nft", "--check", "-f", "-", text=_PROBE)
    if "Operation not permitted" in done.stderr:
        raise EdgeError("nft: operation not permitted: CAP_NET_ADMIN is needed")
    return done.returncode == 0


def apply(ruleset: Ruleset) -> None:
    """Load the ruleset; it replaces an earlier one of ours. Raises EdgeError with the tool's own words."""
    if ruleset.iptables:
        _remove_iptables_rules()
        _must("iptables-nft-restore", "--noflush", text=ruleset.iptables)
    _must("nft", "-f", "-", text=ruleset.nft)


def change(text: str) -> None:
    """Change the loaded table by nft commands, in one transaction. Raises EdgeError when that fails; then nothing has changed."""
    _must("nft", "-f", "-", text=text)


def named_counters() -> dict[str, int]:
    """Packets by the name of each named counter of our table; empty while the table is not there."""
    return nft_dump.counters(TABLE)


def listing(ruleset: Ruleset) -> str:
    """What is loaded of all that `apply` loads, as the kernel lists it: equal texts mean equal rules. Counters are not in it.

    Empty when our table is not there.
    """
    done = _run("nft", "--stateless", "list", "table", "ip", TABLE)
    if done.returncode or not ruleset.iptables:
        return done.stdout
    ours = _ours_in_raw(_run("nft", "--stateless", "list", "table", "ip", "raw").stdout)
    return done.stdout + "".join(sorted(ours, key=_chain_of))  # chains stand in the order in which they were made


def _chain_of(line: str) -> str:
    """The chain that a line of `_ours_in_raw` is in."""
    return line.partition(":")[0]


def zone_rules() -> list[tuple[str, str, str, int]]:
    """Rules of other tables that set a conntrack zone, by which packets are tracked again: family, table, chain and handle."""
    rules = [item["rule"] for item in _listed("ruleset") if "rule" in item and item["rule"]["table"] != TABLE]
    return [(rule["family"], rule["table"], rule["chain"], rule["handle"]) for rule in rules if _sets_zone(rule)]


def _sets_zone(rule: dict[str, Any]) -> bool:
    keys = (statement["mangle"]["key"] for statement in rule["expr"] if "mangle" in statement)
    return any(key.get("ct", {}).get("key") == "zone" for key in keys if isinstance(key, dict))


def is_owned(table: str) -> bool:
    """Whether a process that runs owns this table of the family ip. The text is read: the JSON of nft 1.0.6 has broken flags."""
    return _OWNED.search(_run("nft", "list", "table", "ip", table).stdout) is not None


def _ours_in_raw(text: str) -> Iterator[str]:
    """The lines of the `raw` table that are our chain, or jump to it, with the name of the chain they are in. What ends a chain
    is left out: that depends on which one is the last."""
    chain = ""
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words[:1] == ["chain"]:
            chain = words[1]
        if (chain == IPTABLES_CHAIN and words not in ([], ["}"])) or IPTABLES_CHAIN in words:
            yield f"{chain}: {line}"


def _has_jump(jump: Sequence[str]) -> bool:
    return _run("iptables-nft", "-t", "raw", "-C", *jump).returncode == 0


def access_table() -> Loaded:
    """What is in the table of access lists and rate limits."""
    names = nft_dump.sets(ACCESS_TABLE), nft_dump.chains(ACCESS_TABLE), frozenset(nft_dump.counters(ACCESS_TABLE))
    return Loaded(*names)


def remove() -> None:
    """Remove our tables, our chain and the jumps to it, those of them that are there; of the access table, not what the operator
    has in it. Raises EdgeError when a tool refuses."""
    _must("nft", "-f", "-", text=f"table ip {TABLE}\ndelete table ip {TABLE}\n")
    if (access := access_table()).chains:
        _must("nft", "-f", "-", text=render_removal(access))
    _remove_iptables_rules()
    _remove_idle_raw_chains()


def _listed(*what: str) -> list[dict[str, dict[str, Any]]]:
    """What nft lists, item by item; empty when that is not there."""
    done = _run("nft", "--json", "list", *what)
    items: list[dict[str, dict[str, Any]]] = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
    return items


def _raw_table() -> list[dict[str, dict[str, Any]]]:
    return _listed("table", "ip", "raw")


def _remove_iptables_rules() -> None:
    if not any(item.get("chain", {}).get("name") == IPTABLES_CHAIN for item in _raw_table()):
        return
    for jump in IPTABLES_JUMPS:
        while _has_jump(jump):
            _must("iptables-nft", "-t", "raw", "-D", *jump)
    _must("iptables-nft", "-t", "raw", "-F", IPTABLES_CHAIN)
    _must("iptables-nft", "-t", "raw", "-X", IPTABLES_CHAIN)


def _remove_idle_raw_chains() -> None:
    """iptables-nft makes the table `raw` and its chains when it is first used. A chain without rules that accepts everything has
    no effect, so it can go."""
    items = _raw_table()
    chains = {item["chain"]["name"]: item["chain"] for item in items if "chain" in item}
    with_rules = {item["rule"]["chain"] for item in items if "rule" in item}
    ours = {jump[0] for jump in IPTABLES_JUMPS}
    idle = {name for name in ours & chains.keys() - with_rules if chains[name].get("policy") == "accept"}
    if idle and idle == chains.keys():
        _must("nft", "delete", "table", "ip", "raw")
        return
    for name in sorted(idle):
        _must("nft", "delete", "chain", "ip", "raw", name)
