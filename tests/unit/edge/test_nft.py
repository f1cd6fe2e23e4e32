"""nft.py: a tool that does not answer is an error, and nobody waits for it for ever."""

import json
import subprocess
from typing import Any

import pytest

from appliance.edge import nft
from appliance.edge.errors import EdgeError
from appliance.policy.ruleset import Ruleset


def test_a_tool_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **how: Any) -> None:
        raise subprocess.TimeoutExpired(command, how["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(EdgeError, match="nft has not answered within 60 s"):
        nft.change("")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("table ip guard { # progname nft\n\tflags owner\n\tchain input {\n\t}\n}\n", True),
        ("table ip guard {\n\tflags dormant,owner\n}\n", True),
        ("table ip guard {\n\tset owner {\n\t\ttype mark\n\t\tflags interval\n\t}\n}\n", False),
        ("", False),
    ],
)
def test_a_table_is_owned_when_the_kernel_lists_it_so(monkeypatch: pytest.MonkeyPatch, listed: str, expected: bool) -> None:
    def run(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command == ("nft", "list", "table", "ip", "guard")
        return subprocess.CompletedProcess(command, 0 if listed else 1, listed, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert nft.is_owned("guard") is expected


def rule(table: str, handle: int, *statements: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": "ip", "table": table, "chain": "pre", "handle": handle, "expr": list(statements)}}


SETS_ZONE = {"mangle": {"key": {"ct": {"key": "zone"}}, "value": 7}}


def test_rules_of_others_that_set_a_conntrack_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        {"metainfo": {"version": "1.0.6"}},
        rule("rival", 4, {"match": {"op": "==", "left": {"ct": {"key": "zone"}}, "right": 7}}),
        rule("rival", 5, {"counter": {"packets": 1}}, SETS_ZONE),
        rule("rival", 6, {"mangle": {"key": {"ct": {"key": "mark"}}, "value": 7}}),
        rule("rival", 7, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 7}}, {"accept": None}),
        rule("appliance", 8, SETS_ZONE),
    ]

    def run(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command == ("nft", "--json", "list", "ruleset")
        return subprocess.CompletedProcess(command, 0, json.dumps({"nftables": listed}), "")

    monkeypatch.setattr(subprocess, "run", run)
    assert nft.zone_rules() == [("ip", "rival", "pre", 5)]


@pytest.mark.parametrize("is_last", [True, False])
def test_our_part_of_the_raw_table_is_listed_alike_wherever_it_stands(is_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """iptables-nft puts a chain that is made again behind the others."""
    ours = "\tchain APPLIANCE {\n\t\tfirst\n\t\tsecond\n\t}\n"
    other = "\tchain PREROUTING {\n\t\ttype filter hook prerouting priority raw\n\t\tjump APPLIANCE\n\t}\n"
    chains = (other, ours) if is_last else (ours, other)
    raw = "table ip raw {\n" + "\n".join(chains) + "}\n"
    texts = {"appliance": "table ip appliance {\n}\n", "raw": raw}
    done = lambda *command, **_: subprocess.CompletedProcess(command, 0, texts[command[-1]], "")  # noqa: E731
    monkeypatch.setattr(nft, "_run", done)
    assert nft.listing(Ruleset("", "iptables")) == texts["appliance"] + (
        "APPLIANCE: \tchain APPLIANCE {\nAPPLIANCE: \t\tfirst\nAPPLIANCE: \t\tsecond\nPREROUTING: \t\tjump APPLIANCE\n"
    )
