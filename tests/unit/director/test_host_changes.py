"""host.py while services and local addresses come and go: rules and addresses follow, all or none of them."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from appliance.config import loading
from appliance.config.loading import Config
from appliance.director.host import Host
from appliance.edge.errors import EdgeError
from appliance.policy.defence import Defence
from tests.support.fake_tools import FakeAccessTable, FakeAddresses, FakeGuard, FakeNft

ALL = Defence(True, True, True)
FILE = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
(WEB,) = FILE.services
NEW_VIP, NEW_LOCAL = "203.0.113.77", "192.0.2.77"
MORE = FILE.model_copy(
    update={
        "services": (WEB, WEB.model_copy(update={"name": "new", "vip": IPv4Address(NEW_VIP)})),
        "local_addresses": {"default": (*FILE.local_addresses["default"], IPv4Address(NEW_LOCAL))},
    }
)
FIRST = {"203.0.113.10", "192.0.2.10", "192.0.2.11"}
ALSO = FIRST | {NEW_VIP, NEW_LOCAL}


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
def addresses(monkeypatch: pytest.MonkeyPatch) -> FakeAddresses:
    fake = FakeAddresses()
    monkeypatch.setattr("appliance.director.host.addresses", fake)
    monkeypatch.setattr("appliance.director.host_addresses.addresses", fake)
    monkeypatch.setattr("appliance.edge.sysctl.needed_changes", lambda _: [])
    return fake


def started(config: Config = FILE) -> Host:
    host = Host()
    host.prepare(config.gateway)
    host.start_steering(config, ALL)
    return host


def test_addresses_come_behind_the_rules_and_go_with_them(nft: FakeNft, addresses: FakeAddresses) -> None:
    host = started()
    host.extend(MORE)
    assert addresses.there == ALSO
    text = nft.done[-1]
    assert isinstance(text, str)
    assert f"add element ip appliance services {{ 203.0.113.10 . tcp . 80, {NEW_VIP} . tcp . 80 }}" in text
    host.shrink(MORE)
    assert (nft.done[-1], addresses.there) == (text, ALSO), "nothing is to be removed"
    host.shrink(FILE)
    assert addresses.there == FIRST
    assert "add element ip appliance vips { 203.0.113.10 }" in nft.done[-1]
    host.mend()
    assert addresses.there == FIRST
    host.undo()
    assert addresses.there == set()


def test_what_is_added_is_put_back_and_undone_by_the_next_run(addresses: FakeAddresses, nft: FakeNft) -> None:
    host = started()
    host.extend(MORE)
    addresses.there.remove(NEW_VIP)
    host.mend()
    assert addresses.there == ALSO
    host.leave()
    after = Host()
    assert after.adopt_leftovers()
    after.prepare(FILE.gateway)
    after.start_steering(FILE, ALL)
    assert addresses.there == FIRST
    assert nft.is_there


def test_an_address_that_was_there_before_stays(nft: FakeNft, addresses: FakeAddresses) -> None:
    addresses.there.add(NEW_VIP)
    host = started()
    host.extend(MORE)
    host.shrink(FILE)
    assert addresses.there == FIRST | {NEW_VIP}
    assert nft.is_there


@pytest.mark.parametrize("refused", [NEW_VIP, NEW_LOCAL])
def test_an_address_that_the_kernel_refuses_takes_all_back(refused: str, nft: FakeNft, addresses: FakeAddresses) -> None:
    host = started()
    addresses.refused = {refused}
    with pytest.raises(EdgeError, match=f"cannot add {refused}"):
        host.extend(MORE)
    assert addresses.there == FIRST
    assert "add element ip appliance vips { 203.0.113.10 }" in nft.done[-1]
    host.mend()
    assert addresses.there == FIRST


def test_rules_that_the_kernel_refuses_change_nothing(nft: FakeNft, addresses: FakeAddresses) -> None:
    host = started()
    nft.refuses = True
    done = list(nft.done)
    with pytest.raises(EdgeError, match="why"):
        host.extend(MORE)
    assert (addresses.there, nft.done) == (FIRST, done)
    host.mend()
    assert (addresses.there, nft.done) == (FIRST, done)


def test_what_cannot_be_removed_is_tried_again(nft: FakeNft, addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch) -> None:
    host = started()
    host.extend(MORE)
    nft.refuses = True
    for refuses in (host.shrink, lambda _: host.mend()):
        with pytest.raises(EdgeError, match="why"):
            refuses(FILE)
    nft.refuses = False

    def refuse(*_: Any) -> None:
        raise EdgeError("busy")

    with monkeypatch.context() as refusing:
        refusing.setattr(addresses, "remove", refuse)
        with pytest.raises(EdgeError, match="busy"):
            host.mend()
        assert addresses.there == ALSO
    host.mend()
    assert addresses.there == FIRST
    count = len(nft.done)
    host.mend()
    assert len(nft.done) == count


def test_taking_back_is_tried_again_as_well(nft: FakeNft, addresses: FakeAddresses, monkeypatch: pytest.MonkeyPatch) -> None:
    host = started()
    addresses.refused = {NEW_VIP}

    def add(placed: Any) -> None:
        nft.refuses = True
        FakeAddresses.add(addresses, placed)

    monkeypatch.setattr(addresses, "add", add)
    with pytest.raises(EdgeError, match=f"cannot add {NEW_VIP}"):
        host.extend(MORE)
    assert NEW_LOCAL in addresses.there
    nft.refuses = False
    monkeypatch.setattr(addresses, "add", lambda placed: FakeAddresses.add(addresses, placed))
    host.mend()
    assert addresses.there == FIRST


def test_addresses_of_another_program_are_left_to_it(nft: FakeNft, addresses: FakeAddresses) -> None:
    gateway = FILE.gateway.model_copy(update={"manage_addresses": False})
    ours, more = (config.model_copy(update={"gateway": gateway}) for config in (FILE, MORE))
    host = started(ours)
    host.extend(more)
    assert addresses.there == set()
    host.mend()
    assert NEW_VIP in host.missing_addresses
    host.shrink(ours)
    host.mend()
    assert NEW_VIP not in host.missing_addresses
    assert nft.is_there


def test_nothing_is_changed_behind_the_end(nft: FakeNft, addresses: FakeAddresses) -> None:
    host = started()
    host.undo()
    nft.done.clear()
    host.extend(MORE)
    host.shrink(FILE)
    host.mend()
    assert (nft.done, addresses.there) == ([], set())
