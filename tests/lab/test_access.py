"""Access lists and rate limits on real packets: who gets in, what is counted, and what a change means for those that are in."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from appliance.policy.access_rules import ACCESS_TABLE
from appliance.rest.metrics import FRESH_S
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import log_lines, reload
from tests.lab.keep_alive import keep_alive
from tests.lab.raw_client import raw_addresses
from tests.lab.segment_client import SegmentClient

CONFIG = (Path(__file__).parent / "tcp_and_udp.toml").read_text().replace('name = "web"\n', 'name = "web"\nsynproxy = false\n', 1)
CLIENT, STRANGER, NEIGHBOUR = "198.51.100.2", "198.51.100.66", "198.51.100.67"

UDP_FROM = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 0))
for _ in range(int(sys.argv[4])):
    sock.sendto(b"x", (sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("access") / "lvs.toml"
    config.write_text(CONFIG)
    for lab in running_lab("--config", str(config)):
        with raw_addresses(lab, STRANGER, NEIGHBOUR):
            yield lab


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, which gets a configuration without lists back afterwards."""
    yield one_lab
    reload(one_lab, CONFIG)


@pytest.fixture
def client(lab: RunningLab) -> Iterator[SegmentClient]:
    stranger = SegmentClient(lab, STRANGER)
    yield stranger
    stranger.close()


def with_keys(*, web: str = "", echo: str = "") -> str:
    """The configuration with more keys in the tables of the TCP and the UDP service."""
    return CONFIG.replace('name = "web"\n', f'name = "web"\n{web}\n').replace('name = "echo"\n', f'name = "echo"\n{echo}\n')


def put(lab: RunningLab, *, web: str = "", echo: str = "") -> list[str]:
    """Put these keys in force; returns what was logged."""
    said = reload(lab, with_keys(web=web, echo=echo))
    assert any(line.startswith("configuration read again") for line in said), said
    return said


REASONS = ("denied_drops", "not_allowed_drops", "client_rate_drops", "service_rate_drops")


@contextmanager
def more_in(lab: RunningLab, **by: int) -> Iterator[None]:
    """The counters of drops grow by exactly so much in the block, or right after it, and no other of them does."""
    time.sleep(FRESH_S)  # a page made before this has other services, or the same with less
    before = drops(lab)
    yield
    wanted = {reason: before[reason] + by.get(reason, 0) for reason in REASONS}
    lab.wait_until(f"{by} are counted", lambda: all(drops(lab)[reason] >= wanted[reason] for reason in REASONS))
    assert {reason: drops(lab)[reason] for reason in REASONS} == wanted


def drops(lab: RunningLab) -> Counter[str]:
    """What was dropped for all services that have lists or limits now, as the page of metrics says."""
    found = Counter[str]()
    for service in ("web", "echo"):
        found.update({reason: int(counted) for reason in REASONS if (counted := counted_for(lab, service, reason))})
    return found


def counted_for(lab: RunningLab, service: str, reason: str) -> float:
    """What the page of metrics says of one service, and 0 when it says nothing."""
    series = f'appliance_service_access_drops_total{{reason="{reason}",service="{service}"}}'
    lines = dict(line.rpartition(" ")[::2] for line in lab.api("/metrics").splitlines() if not line.startswith("#"))
    return float(lines.get(series, 0))


@contextmanager
def neighbour_of(lab: RunningLab) -> Iterator[SegmentClient]:
    """A second client of single segments."""
    neighbour = SegmentClient(lab, NEIGHBOUR)
    try:
        yield neighbour
    finally:
        neighbour.close()


def opens(client: SegmentClient, port: int, wait_s: float = 30.0) -> bool:
    """Whether a SYN is answered with SYN and ACK."""
    client.send(port, "S", seq=port)
    while seen := client.receive(wait_s):
        if seen.flags == "SA" and seen.ack == port + 1:
            return True
    return False


def test_denied_clients_get_no_answer_and_all_others_do(lab: RunningLab, client: SegmentClient) -> None:
    put(lab, web=f'deny = ["10.0.0.0/8", "{STRANGER}"]', echo=f'deny = ["{STRANGER}/32"]')
    with neighbour_of(lab) as neighbour, more_in(lab, denied_drops=7 + 3):
        for port in range(2000, 2007):
            client.send(port, "S", seq=1)
        lab.run("client", sys.executable, "-c", UDP_FROM, STRANGER, lab.vip, str(lab.port), "3")
        assert opens(neighbour, 2100)
        assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}
        result = lab.script("client", "udp_echo.py", "4", "2")
        assert (result["whole"], result["lost"]) == (8, 0)
    assert client.receive(0.01) is None
    lab.wait_until("the totals say so as well", lambda: lab.counter("queues", "denied_drops") == drops(lab)["denied_drops"])
    assert counted_for(lab, "web", "denied_drops") >= 7
    assert counted_for(lab, "echo", "denied_drops") == 3


def test_only_allowed_clients_get_an_answer_and_deny_comes_first(lab: RunningLab, client: SegmentClient, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"# ours\n{CLIENT}\n\n198.51.100.64/30  # neighbours\n")
    put(lab, web=f'allow_files = ["{allowed}"]\ndeny = ["{NEIGHBOUR}"]', echo='allow = ["10.0.0.0/8"]')
    with neighbour_of(lab) as neighbour, more_in(lab, denied_drops=4, not_allowed_drops=5):
        assert opens(client, 2200)
        for port in range(2000, 2004):
            neighbour.send(port, "S", seq=1)
        lab.run("client", sys.executable, "-c", UDP_FROM, CLIENT, lab.vip, str(lab.port), "5")
        assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}


def test_a_list_changes_while_connections_flow_and_none_that_is_allowed_meets_a_gap(lab: RunningLab, tmp_path: Path) -> None:
    """A SYN that is dropped comes again, so the counters say whether there was a gap."""
    allowed = tmp_path / "allowed"

    def write(start: int) -> None:
        others = (IPv4Network((IPv4Address("10.0.0.0") + 512 * number, 24)) for number in range(start, start + 3000))
        allowed.write_text("".join(f"{network}\n" for network in (*others, f"{CLIENT}/32")))

    write(0)
    put(lab, web=f'allow_files = ["{allowed}"]')
    with more_in(lab), lab.start("client", "load_until_told.py", "4") as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "loading\n"
        for changes in range(1, 7):
            write(changes)
            said = put(lab, web=f'allow_files = ["{allowed}"]\nclient_new_per_s = {changes % 2 * 1_000_000}')
            assert "service web: allow has 3001 ranges of addresses, had 3001" in said
        result = json.loads(load.communicate()[0])
    assert (result["errors"], result["answered"] > 0) == ({}, True)


def test_a_client_opens_so_many_connections_a_second_and_another_one_as_many(lab: RunningLab, client: SegmentClient) -> None:
    put(lab, web="client_new_per_s = 1\nclient_new_burst = 5")
    with neighbour_of(lab) as neighbour:
        answered, more = flood(lab, [client], 3000, "client_rate_drops")
        assert 5 <= answered <= 5 + more
        assert opens(neighbour, 2300)
        put(lab, web="client_new_per_s = 1\nclient_new_burst = 5\nclient_mask = 24")
        answered, more = flood(lab, [client, neighbour], 3100, "client_rate_drops")
        assert 5 <= answered <= 5 + more, "both are one client"


def test_a_service_opens_so_many_connections_a_second(lab: RunningLab, client: SegmentClient) -> None:
    put(lab, web="new_per_s = 1\nnew_burst = 8")
    with neighbour_of(lab) as neighbour:
        answered, more = flood(lab, [client, neighbour], 3200, "service_rate_drops")
    assert 8 <= answered <= 8 + more


def flood(lab: RunningLab, clients: Sequence[SegmentClient], first_port: int, counter: str) -> tuple[int, float]:
    """Each client sends 40 SYNs from other ports. Returns how many were not dropped, and how many more than at the beginning a
    limit of one a second may have let through by then. Each SYN is answered or counted."""
    before, ports, began = drops(lab)[counter], range(first_port, first_port + 40), time.monotonic()
    for port in ports:
        for client in clients:
            client.send(port, "S", seq=port)
    more = time.monotonic() - began + 1
    answered: set[tuple[int, int]] = set()

    def dropped() -> int:
        return drops(lab)[counter] - before

    def all_are_known() -> bool:
        for number, client in enumerate(clients):
            while seen := client.receive(0.05):
                if seen.flags == "SA" and seen.ack - 1 in ports:
                    answered.add((number, seen.ack))
        return len(answered) + dropped() >= len(clients) * len(ports)

    lab.wait_until("each SYN is answered or counted", all_are_known)
    assert len(answered) + dropped() == len(clients) * len(ports)
    return len(answered), more


def test_a_reload_cuts_the_sessions_of_clients_that_it_denies_and_no_others(lab: RunningLab) -> None:
    with keep_alive(lab) as clients:
        clients.ask()
        before = clients.answers()
        put(lab, web='allow = ["198.51.100.0/24"]')
        clients.ask()
        assert clients.answers() == before, "they are allowed"
        seen = len(log_lines(lab))
        put(lab, web='deny = ["198.51.100.0/28"]')
        lab.wait_until("they are cut", lambda: any("not admitted any more cut" in line for line in log_lines(lab)[seen:]))
        clients.ask()
        assert clients.answers() == [["reset", port] for _, port in before]


def test_a_file_with_a_wrong_line_changes_nothing(lab: RunningLab, client: SegmentClient, tmp_path: Path) -> None:
    put(lab, web=f'deny = ["{STRANGER}"]')
    file = tmp_path / "wrong"
    file.write_text("10.0.0.0/8\n10.0.0.1/8\n")
    said = reload(lab, with_keys(web=f'deny_files = ["{file}"]'))
    assert said == [
        f'{file}:2: "10.0.0.1/8" has bits set beyond its prefix (deny_files of service web)',
        "reload refused, nothing has changed",
    ]
    file.chmod(0o666)
    said = reload(lab, with_keys(web=f'deny_files = ["{file}"]'))
    assert "others than its owner may change it" in said[0]
    with more_in(lab, denied_drops=1):
        client.send(2500, "S", seq=1)


def test_sets_of_the_operator(lab: RunningLab, client: SegmentClient) -> None:
    """They are made when they are missing, which the doctor says; they are for the operator to fill; and they stay."""
    put(lab, web='deny_sets = ["blocked"]')
    lab.wait_until("the doctor says so", lambda: "access_set_missing" in lab.api("/doctor"))
    assert opens(client, 2600)
    lab.run("gateway", "nft", f"add element ip {ACCESS_TABLE} blocked {{ 198.51.100.64/28 }}")
    put(lab, web='deny_sets = ["blocked"]\ndeny = ["10.0.0.0/8"]')
    lab.wait_until("the doctor is content", lambda: "access_set_missing" not in lab.api("/doctor"))
    with more_in(lab, denied_drops=1):
        client.send(2601, "S", seq=1)
    put(lab)
    tables = lab.run("gateway", "nft", "list", "table", "ip", ACCESS_TABLE)
    assert "198.51.100.64/28" in tables
    assert "chain" not in tables
    lab.run("gateway", "nft", "delete", "table", "ip", ACCESS_TABLE)


def test_rules_that_somebody_takes_away_are_put_back(lab: RunningLab, client: SegmentClient) -> None:
    put(lab, web=f'deny = ["{STRANGER}"]')
    with more_in(lab, denied_drops=1):
        client.send(2700, "S", seq=1)
    lab.run("gateway", "nft", "delete", "table", "ip", ACCESS_TABLE)
    lab.wait_until("they are back", lambda: f"table ip {ACCESS_TABLE}" in lab.run("gateway", "nft", "list", "tables"))
    with more_in(lab, denied_drops=1):
        client.send(2701, "S", seq=1)


def test_elements_that_somebody_takes_away_are_put_back(lab: RunningLab, client: SegmentClient) -> None:
    """Of a list, and of the map by which packets find the rules of their service."""
    put(lab, web=f'deny = ["{STRANGER}", "203.0.113.0/25", "192.0.2.200"]')
    mended = lab.counter("queues", "access_sets_mended")
    table = json.loads(lab.run("gateway", "nft", "--json", "list", "table", "ip", ACCESS_TABLE))["nftables"]
    name = next(item["set"]["name"] for item in table if item.get("set", {}).get("name", "").startswith("list_"))
    for number, (where, element) in enumerate(((name, STRANGER), ("services", "203.0.113.10 . tcp . 80")), 1):
        lab.run("gateway", "nft", f"delete element ip {ACCESS_TABLE} {where} {{ {element} }}")
        is_said = f"somebody else has changed what is in {where} of the table ip {ACCESS_TABLE}: it is put back".__eq__
        lab.wait_until("it is said", partial(lambda is_said: any(map(is_said, log_lines(lab, "host"))), is_said))
        get = ("nft", f"get element ip {ACCESS_TABLE} {where} {{ {element} }}")
        lab.wait_until("it is put back", partial(lambda get: lab.run("gateway", *get, check=False) != "", get))
        with more_in(lab, denied_drops=1):
            client.send(2710 + number, "S", seq=1)
    lab.wait_until("both are counted", lambda: lab.counter("queues", "access_sets_mended") - mended == 2)


ALONE = """
import random, subprocess, sys, time
from ipaddress import IPv4Address
from appliance.edge import nft, nft_dump
from appliance.policy.access_rules import ACCESS_TABLE, AccessService, render_access
from appliance.policy.prefixes import Prefixes, range_of

def put(*services):
    for text in render_access(services, nft.access_table()):
        if text:
            nft.change(text)
some = random.Random(7).sample(range(1 << 24), 100_000)
text = "\\n".join(f"{net >> 16}.{net >> 8 & 255}.{net & 255}.0/24" for net in some)
began = time.perf_counter()
large = Prefixes(map(range_of, text.split("\\n")))
read = time.perf_counter()
web = AccessService("web", IPv4Address("203.0.113.10"), "tcp", 80, allow=large)
put(web)
print(f"{len(some)} prefixes: read in {read - began:.2f} s, loaded in {time.perf_counter() - read:.2f} s", flush=True)
assert nft_dump.has_elements(ACCESS_TABLE, f"list_{large.digest}")
put(web._replace(allow_sets=("friends",)))
assert nft_dump.sets(ACCESS_TABLE) == {"friends", "services", f"list_{large.digest}"}
put(web._replace(allow=None, deny=Prefixes([range_of("0.0.0.0/0")])), web._replace(name="other", port=81, deny=Prefixes()))
nft.remove()
assert nft.access_table() == (frozenset({"friends"}), frozenset(), frozenset())
subprocess.run(["nft", "delete", "set", "ip", ACCESS_TABLE, "friends"], check=True)
put(web._replace(allow=Prefixes()))
nft.remove()
assert ACCESS_TABLE not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
"""


def test_a_hundred_thousand_prefixes_and_nothing_left_behind(bare_gateway: str) -> None:
    """With -s it prints how long they take."""
    command = ["nsenter", f"--net=/run/netns/{bare_gateway}", "--", sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
