"""host.py: how the rules of the defence get into the kernel, and what it has counted, over changes, flushes and the end."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import repeat
from pathlib import Path
from threading import Thread
from typing import cast

import pytest

from appliance.config import loading
from appliance.config.loading import RealServer
from appliance.director.host import Host
from appliance.director.plans import RemovedServer, steered
from appliance.edge.errors import EdgeError
from appliance.model.host_parameter import HostParameterError
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.policy.defence import Defence
from appliance.policy.guard import render_guard
from appliance.policy.ruleset import Ruleset, render, render_defence
from tests.support.fake_tools import FakeAccessTable, FakeAddresses, FakeGuard, FakeNft
from tests.support.proc_sys import ProcSysNet

_FILE = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
SHIPPED = _FILE.model_copy(update={"gateway": _FILE.gateway.model_copy(update={"manage_addresses": False})})
ALL, NO_UDP = Defence(True, True, True), Defence(True, True, False)


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNft:
    fake = FakeNft()
    monkeypatch.setattr("appliance.director.host.nft", fake)
    monkeypatch.setattr("appliance.edge.guard.nft", fake)
    monkeypatch.setattr("appliance.director.host.AccessTable", FakeAccessTable)
    monkeypatch.setattr("appliance.director.host.Guard", FakeGuard)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return fake


@pytest.fixture
def host(nft: FakeNft) -> Host:
    """Steers the shipped configuration."""
    host = Host()
    host.start_steering(SHIPPED, ALL)
    assert nft.done == [whole(ALL)]
    nft.done.clear()
    return host


def whole(defence: Defence) -> Ruleset:
    return render(steered(SHIPPED), defence, native=True)


def test_the_seed_of_the_gateway_is_in_the_rules_from_the_start_on_and_after_a_change(nft: FakeNft) -> None:
    host = Host(0x89ABCDEF)
    host.start_steering(two_shards(SHIPPED), ALL)
    (service,) = SHIPPED.services
    new = RealServer(address="192.0.2.150", port=8080)  # type: ignore[arg-type]
    changed = SHIPPED.model_copy(update={"services": (service.model_copy(update={"real_servers": (new,)}),)})
    host.extend(two_shards(changed))
    nft.flush()
    host.mend()
    first, _, last = nft.done
    for ruleset in (first, last):
        assert isinstance(ruleset, Ruleset)
        assert ruleset.nft.count(" seed 0x89abcdef ") == ruleset.nft.count("jhash") == 2


def two_shards(config: loading.Config) -> loading.Config:
    return config.model_copy(update={"gateway": config.gateway.model_copy(update={"shards": 2})})


def test_a_change_touches_nothing_but_the_rules(host: Host, nft: FakeNft) -> None:
    host.change_defence(NO_UDP)
    assert nft.done == [render_defence(NO_UDP)]


def test_a_flushed_ruleset_comes_back_as_it_is_in_force(host: Host, nft: FakeNft) -> None:
    host.change_defence(NO_UDP)
    nft.flush()
    host.mend()
    host.mend()
    assert nft.done == [render_defence(NO_UDP), whole(NO_UDP)]


def test_a_change_while_the_ruleset_is_gone_loads_all_of_it(host: Host, nft: FakeNft) -> None:
    nft.flush()
    host.change_defence(NO_UDP)
    assert nft.done == [whole(NO_UDP)]


def test_rules_that_go_again_before_they_are_listed_are_put_back_by_the_next_look(
    host: Host, nft: FakeNft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is as quick as the repair: what is left then must not count as what is to be there."""
    load = nft.apply

    def load_and_lose(ruleset: Ruleset) -> None:
        load(ruleset)
        nft.listed = nft.listed[: len(nft.listed) // 2]

    nft.listed = "something else"
    monkeypatch.setattr(nft, "apply", load_and_lose)
    host.mend()
    monkeypatch.setattr(nft, "apply", load)
    loads = len(nft.done)
    host.mend()
    host.mend()
    assert nft.done[loads:] == [nft.done[0]]


def test_what_the_kernel_refuses_is_not_what_a_mend_loads(host: Host, nft: FakeNft) -> None:
    nft.refuses = True
    with pytest.raises(EdgeError, match="why"):
        host.change_defence(NO_UDP)
    nft.flush()
    host.mend()
    assert nft.done == [whole(ALL)]


def test_counts_go_on_over_a_mend(host: Host, nft: FakeNft) -> None:
    nft.counters["defence_udp_drop"] = 5
    assert host.kernel_drops()["defence_udp_drop"] == 5
    nft.flush()
    assert host.kernel_drops()["defence_udp_drop"] == 5, "what cannot be read has not changed"
    host.mend()
    nft.counters["defence_udp_drop"] = 7
    counted = {"defence_udp_drop": 12, "denied_drops": 4}
    assert {name: count for name, count in host.kernel_drops().items() if count} == counted


def test_a_mend_reads_what_is_there_before_it_replaces_it(host: Host, nft: FakeNft) -> None:
    """The table is there and only a jump to the compat chain is missing: what it has counted since the last look is not lost."""
    nft.counters["defence_tcp_drop"] = 9
    nft.listed = "other rules"
    host.mend()
    assert host.kernel_drops()["defence_tcp_drop"] == 9


def test_nothing_is_changed_before_the_start_or_behind_the_end(host: Host, nft: FakeNft) -> None:
    host.undo()
    host.change_defence(NO_UDP)
    Host().change_defence(NO_UDP)
    assert nft.done == []


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> FakeAddresses:
    fake = FakeAddresses()
    monkeypatch.setattr("appliance.director.host.addresses", fake)
    monkeypatch.setattr("appliance.director.host_addresses.addresses", fake)
    monkeypatch.setattr("appliance.edge.sysctl.needed_changes", lambda _: [])
    return fake


@pytest.mark.usefixtures("nft")
def test_an_address_that_goes_is_added_again_and_removed_in_the_end(addresses: FakeAddresses) -> None:
    host = Host()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE, ALL)
    assert addresses.there == {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    addresses.there -= {"203.0.113.10", "192.0.2.11"}
    host.mend()
    assert addresses.there == {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    assert host.problems == {}
    host.undo()
    assert addresses.there == set()


@pytest.mark.usefixtures("nft")
@pytest.mark.parametrize(
    ("gone", "stays_away", "words"),
    [
        ({"client0"}, {"203.0.113.10"}, "interface client0 does not exist"),
        ({"server0"}, {"192.0.2.10", "192.0.2.11"}, "interface server0 does not exist"),
        ({"client0", "server0"}, {"203.0.113.10", "192.0.2.10", "192.0.2.11"}, "interfaces client0, server0 do not exist"),
    ],
)
def test_an_interface_that_is_gone_keeps_nothing_from_being_put_back_on_others(
    gone: set[str], stays_away: set[str], words: str, addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, looked_at = Host(), list[str]()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE, ALL)
    everything = set(addresses.there)

    def look(interfaces: list[str]) -> list[object]:
        looked_at.extend(interfaces)
        return []

    monkeypatch.setattr("appliance.edge.sysctl.needed_changes", look)
    addresses.there, addresses.gone_interfaces = set(), gone
    with pytest.raises(EdgeError, match=words):
        host.mend()
    assert addresses.there == everything - stays_away
    assert set(looked_at) == {"client0", "server0"} - gone
    assert host.problems == {"interface": words}
    addresses.gone_interfaces = set()
    host.mend()
    assert (addresses.there, host.problems) == (everything, {})


@pytest.mark.usefixtures("nft")
def test_of_many_addresses_the_log_names_some(addresses: FakeAddresses, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pools = {"default": tuple(IPv4Address("10.0.0.0") + number for number in range(500))}
    host = Host()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE.model_copy(update={"local_addresses": pools}), ALL)
    assert len(addresses.there) == 501
    first = ", ".join(f"10.0.0.{number}" for number in range(20))
    assert [line for line in caplog.messages if "10.0.0." in line] == [f"added to server0: {first} and 480 more"]


@pytest.mark.usefixtures("nft")
def test_a_step_that_fails_keeps_no_other_from_being_done(addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE, ALL)
    everything, addresses.there, addresses.refused = set(addresses.there), set(), {"192.0.2.10", "203.0.113.10"}

    def refuse(interfaces: list[str]) -> list[object]:
        raise EdgeError(f"cannot read a sysctl of {interfaces[0]}")

    monkeypatch.setattr("appliance.edge.sysctl.needed_changes", refuse)
    with pytest.raises(EdgeError) as failed:
        host.mend()
    assert addresses.there == everything - addresses.refused
    assert str(failed.value) == (
        "cannot read a sysctl of client0; cannot read a sysctl of server0; cannot add 192.0.2.10, 203.0.113.10"
    )
    assert list(host.problems) == ["address"]


@pytest.mark.usefixtures("nft")
def test_addresses_of_another_program_are_reported_once_when_they_go(
    addresses: FakeAddresses, caplog: pytest.LogCaptureFixture
) -> None:
    addresses.there = {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    host = Host()
    host.prepare(SHIPPED.gateway)
    host.start_steering(SHIPPED, ALL)
    assert not host.missing_addresses
    addresses.there.remove("203.0.113.10")
    host.mend()
    host.mend()
    assert host.missing_addresses == ("203.0.113.10",)
    assert addresses.there == {"192.0.2.10", "192.0.2.11"}
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("203.0.113.10")


@pytest.mark.usefixtures("nft")
def test_what_is_undone_is_not_put_back_by_a_mend_that_still_runs(
    addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE, ALL)
    mends = list[Thread]()
    remove = addresses.remove

    def remove_meanwhile(placed: Sequence[tuple[str, str]]) -> None:
        remove(placed)
        assert host._steering.locked(), "a mend waits until all is undone"
        mends.append(Thread(target=host.mend))
        mends[-1].start()

    monkeypatch.setattr(addresses, "remove", remove_meanwhile)
    host.undo()
    for mend in mends:
        mend.join()
    assert len(mends) == 1
    assert addresses.there == set()


def test_a_step_that_cannot_be_undone_leaves_no_other_undone(
    nft: FakeNft, addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Sequence[tuple[str, str]]) -> None:
        raise OSError(24, "Too many open files")

    host = Host()
    host.prepare(_FILE.gateway)
    host.start_steering(_FILE, ALL)
    monkeypatch.setattr(addresses, "remove", refuse)
    host.undo()
    assert addresses.there == {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    assert not nft.is_there
    assert "Too many open files" in caplog.messages[-1]


def test_an_appliance_whose_lock_is_not_seen_is_noticed_by_its_guard(
    nft: FakeNft, addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    nft.owned = repeat(True)
    host = Host()
    with pytest.raises(EdgeError, match="another appliance already runs in this network namespace"):
        host.prepare(_FILE.gateway)
    host.undo()
    assert (nft.done, addresses.there) == ([], set()), "nothing of the other is touched"


@pytest.mark.usefixtures("addresses")
def test_the_guard_of_a_director_that_was_killed_is_waited_for(nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    nft.owned = iter((True, True))
    Host().prepare(_FILE.gateway)


def test_rules_that_are_gone_before_they_are_listed_are_loaded_again(nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    with monkeypatch.context() as flushed:
        flushed.setattr(nft, "listing", lambda _: "")
        host.start_steering(SHIPPED, ALL)
    nft.flush()
    host.mend()
    host.mend()
    assert nft.done == [whole(ALL)] * 2
    assert nft.is_there


def test_the_record_for_the_time_after_a_crash_does_not_grow_with_the_rules(nft: FakeNft, tmp_path: Path) -> None:
    """A record that is too long is refused. It only says that there are rules."""
    Host().start_steering(SHIPPED, ALL)
    assert nft.is_there
    (record,) = tmp_path.glob("host-*.json")
    assert "chain" not in record.read_text()
    assert Host().undo_leftovers()
    assert not nft.is_there


def test_a_problem_lasts_until_it_is_mended(host: Host, nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Ruleset) -> None:
        raise EdgeError("why")

    nft.listed = "a rule is missing"
    with monkeypatch.context() as refusing:
        refusing.setattr(nft, "apply", refuse)
        with pytest.raises(EdgeError, match="why"):
            host.mend()
    assert list(host.problems) == ["ruleset"]
    host.mend()
    assert (host.problems, nft.done) == ({}, [whole(ALL)])


def test_real_servers_are_added_to_the_rules_and_none_is_taken_away(host: Host, nft: FakeNft) -> None:
    (service,) = SHIPPED.services
    new = RealServer(address="192.0.2.150", port=8080)  # type: ignore[arg-type]
    replaced = SHIPPED.model_copy(update={"services": (service.model_copy(update={"real_servers": (new,)}),)})
    host.extend(SHIPPED)
    assert nft.done == []
    host.extend(replaced)
    (text,) = nft.done
    assert "add element ip appliance real_servers { 192.0.2.101, 192.0.2.102, 192.0.2.150 }" in text
    host.mend()
    assert nft.done == [text], "that is what is loaded now"
    host.shrink(replaced, [RemovedServer(service.real_servers[0].address, 8080, "tcp")])
    assert "add element ip appliance real_servers { 192.0.2.101, 192.0.2.150 }" in nft.done[-1]
    assert "udp_servers" not in nft.done[-1]
    host.shrink(replaced, [RemovedServer(service.real_servers[0].address, 53, "udp")])
    assert "add element ip appliance udp_servers { 192.0.2.101 . 53 }" in nft.done[-1]


@pytest.mark.usefixtures("nft")
def test_the_guard_is_held_from_the_start_to_the_end_and_comes_back() -> None:
    host = Host()
    host.start_steering(SHIPPED, ALL)
    guard = cast("FakeGuard", host._guard)
    host.mend()
    assert guard.held == [render_guard(steered(SHIPPED))]
    guard.is_there = False
    host.mend()
    assert guard.held == [render_guard(steered(SHIPPED))] * 2
    host.undo()
    assert not guard.is_held()


@pytest.mark.usefixtures("nft")
def test_a_kernel_that_refuses_the_guard_is_asked_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(FakeGuard, "refuses", True)
    host = Host()
    host.start_steering(SHIPPED, ALL)
    host.mend()
    host.undo()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["there is no guard table, so the host answers clients with RST while the ruleset is gone: why"]


@pytest.mark.usefixtures("nft")
def test_the_next_run_goes_on_with_what_a_run_has_left(addresses: FakeAddresses, tmp_path: Path) -> None:
    first = Host()
    assert not first.adopt_leftovers()
    first.prepare(_FILE.gateway)
    first.start_steering(_FILE, ALL)
    first.leave()
    assert addresses.there == {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    second = Host()
    assert second.adopt_leftovers()
    second.prepare(_FILE.gateway)
    second.start_steering(_FILE, ALL)
    assert addresses.there == {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
    second.undo()
    assert addresses.there == set(), "what the first one has added is gone with the second one"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nft")
def test_addresses_of_the_run_before_that_are_not_wanted_any_more_go(addresses: FakeAddresses) -> None:
    first = Host()
    first.prepare(_FILE.gateway)
    first.start_steering(_FILE, ALL)
    first.leave()
    pools = {"default": _FILE.local_addresses["default"][:1]}
    second = Host()
    second.adopt_leftovers()
    second.prepare(_FILE.gateway)
    second.start_steering(_FILE.model_copy(update={"local_addresses": pools}), ALL)
    assert addresses.there == {"203.0.113.10", "192.0.2.10"}


def test_after_it_has_left_nothing_is_mended(host: Host, nft: FakeNft) -> None:
    host.leave()
    nft.flush()
    host.mend()
    assert nft.done == []


def test_what_the_rules_of_the_run_before_have_counted_is_counted_on(nft: FakeNft) -> None:
    Host().start_steering(SHIPPED, ALL)
    nft.counters["defence_udp_drop"] = 5
    second = Host()
    second.start_steering(SHIPPED, ALL)
    nft.counters["defence_udp_drop"] = 2
    assert second.kernel_drops()["defence_udp_drop"] == 7


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ProcSysNet:
    """The kernel's parameters, with the interfaces of the shipped configuration."""
    root = tmp_path / "net"
    monkeypatch.setattr("appliance.edge.sysctl.NET", root)
    monkeypatch.setattr("appliance.director.host.addresses.missing_interfaces", lambda _: [])
    found = ProcSysNet(root)
    found.fill("client0", "server0")
    return found


WANTED = {"tcp_fin_timeout": (30,), "tcp_rmem": (4096, 8192, 16384)}


@pytest.mark.usefixtures("nft")
def test_parameters_are_set_and_an_end_puts_them_back(net: ProcSysNet) -> None:
    before = net.all()
    host = Host()
    host.prepare(SHIPPED.gateway, WANTED)
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_rmem"], net["ipv4/ip_forward"]) == ("30", "4096 8192 16384", "1")
    host.undo()
    assert net.all() == before


@pytest.mark.usefixtures("nft")
def test_what_a_crashed_run_has_set_is_put_back_by_a_cleanup_or_the_next_run(net: ProcSysNet) -> None:
    before = net.all()
    Host().prepare(SHIPPED.gateway, WANTED)
    assert Host().undo_leftovers()
    assert net.all() == before
    assert not Host().undo_leftovers()

    Host().prepare(SHIPPED.gateway, WANTED)
    following = Host()
    assert following.adopt_leftovers()
    following.prepare(SHIPPED.gateway, {})
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/ip_forward"]) == ("60", "1")
    following.undo()
    assert net.all() == before


@pytest.mark.usefixtures("nft")
def test_a_run_that_leaves_changes_no_parameter_any_more(net: ProcSysNet) -> None:
    host = Host()
    host.prepare(SHIPPED.gateway, WANTED)
    host.leave()
    with pytest.raises(HostParameterError, match="the appliance is ending"):
        host.sysctls.write(HOST_PARAMETERS["tcp_fin_timeout"], "", (31,))
    assert net["ipv4/tcp_fin_timeout"] == "30"


@pytest.mark.usefixtures("nft", "net")
def test_one_thread_at_a_time_writes_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write through the API and a repair may both have something new to write down."""
    host, held = Host(), list[bool]()
    monkeypatch.setattr("appliance.director.host.write_state", lambda *_: held.append(host._saving.locked()))
    host.prepare(SHIPPED.gateway, WANTED)
    assert held
    assert all(held)
