"""The compat ruleset on a host that has rules of its own in the `raw` table: it is loaded once, and removed without a trace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

PROGRAM = Path(__file__).parent / "programs" / "ruleset_and_back.py"

HOSTS = {
    "nothing": "true",
    "rules in another table": "iptables-nft -A OUTPUT -p udp --dport 9 -j ACCEPT",
    "a rule where packets arrive": "iptables-nft -t raw -A PREROUTING -p udp --dport 9 -j ACCEPT",
    "a rule where packets leave": "iptables-nft -t raw -A OUTPUT -p udp --dport 9 -j ACCEPT",
    "a chain that lets nothing pass": "iptables-nft -t raw -P OUTPUT DROP",
    "a chain of its own": "iptables-nft -t raw -N OWN && iptables-nft -t raw -A PREROUTING -j OWN",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
def test_the_host_has_afterwards_what_it_had_before(host: str) -> None:
    command = ["unshare", "--net", "--", "sh", "-c", f'{host} && exec "$@"', "sh", sys.executable, str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["after"] == found["before"]
    assert found["loaded"].count("jump APPLIANCE") == 2, "one jump where packets arrive and one where ICMP leaves, not doubled"
    assert found["missed"] == [], "a missing jump and an empty chain are noticed"
