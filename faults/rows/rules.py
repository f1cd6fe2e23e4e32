"""Rules of the firewall that somebody else removes."""

from contextlib import ExitStack

from bench.rig.topology import BenchError
from faults.figures import NOBODY, Hit
from faults.gateway import Gateway
from faults.promises import Lost, Promise
from faults.rows.row import NotApplicableError, Row

_BACK = Promise(Lost.NONE, 5.0, 5.0)
"""The director puts them back at the kernel's notice."""


def _ruleset_flushed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.run("nft", "flush", "ruleset")
    return NOBODY


def _table_flushed(gateway: Gateway, _: ExitStack) -> Hit:
    gateway.run("nft", "flush", "table", "ip", "appliance")
    return NOBODY


def _raw_flushed(gateway: Gateway, _: ExitStack) -> Hit:
    try:
        rules = gateway.run("iptables-nft", "-t", "raw", "-S")
    except BenchError as error:
        raise NotApplicableError("no iptables on this host") from error
    if "NFQUEUE" not in rules:
        raise NotApplicableError("the rules of this host are nft alone")
    gateway.run("iptables-nft", "-t", "raw", "-F")
    return NOBODY


ROWS = (
    Row("ruleset-flushed", "nft flush ruleset", _ruleset_flushed, _BACK),
    Row("table-flushed", "nft flush table ip appliance", _table_flushed, _BACK),
    Row("raw-flushed", "iptables -t raw -F", _raw_flushed, _BACK),
)
