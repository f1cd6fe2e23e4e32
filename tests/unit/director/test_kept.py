"""director/kept.py: slots and counters go on in the next run, and a stop for good forgets them."""

import os
from pathlib import Path

import pytest

from appliance.config import loading
from appliance.config.loading import Config
from appliance.director import kept
from appliance.director.kept import Kept
from appliance.director.plans import SPARE_SLOTS, Slots
from appliance.health.check import Target
from appliance.health.drain import Drain
from appliance.model.counters import CONNS, WORKER_STARTS

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


def a_run(config: Config = SHIPPED) -> Kept:
    """One that has counted something, and has ended."""
    run = Kept.from_before(config)
    run.slots.take(config)
    kept.keep_slots(run.slots)
    run.shared.destination(0, 1)[CONNS] += 5
    run.shared.table(0, "queue")[WORKER_STARTS] += 3
    run.shared.session_counts[0] = 9
    os.close(run.shared_fd)
    return run


def without_the_first(config: Config) -> Config:
    service = config.services[0]
    fewer = service.model_copy(update={"real_servers": service.real_servers[1:]})
    return config.model_copy(update={"services": (fewer,)})


def slots_of(run: Kept, config: Config) -> list[int]:
    return [server.slot for service in run.slots.plan(config) for server in service.real_servers]


def test_a_run_counts_on_and_real_servers_keep_their_slots() -> None:
    a_run()
    second = a_run(without_the_first(SHIPPED))
    assert not second.slots.are_new
    assert slots_of(second, without_the_first(SHIPPED)) == [1], "not 0, which belongs to the first one"
    assert second.shared.destination(0, 1)[CONNS] == 10
    assert second.shared.table(0, "queue")[WORKER_STARTS] == 3, "those of one run: more than one says that a worker has died"
    assert Kept.from_before(SHIPPED).shared.session_counts[0] == 0, "sessions are counted by whoever adopts them"


def test_the_number_of_shards_may_be_another_one() -> None:
    a_run(SHIPPED.with_shards(4))
    run = Kept.from_before(SHIPPED.with_shards(1))
    assert run.shared.destination(0, 1)[CONNS] == 5


def test_slots_that_do_not_suffice_are_new_and_so_are_counters() -> None:
    first = a_run()
    slots = Slots(first.slots.capacity, {("gone", "192.0.2.1", port): port for port in range(first.slots.capacity)})
    kept.keep_slots(slots)
    run = Kept.from_before(SHIPPED)
    assert (run.slots.capacity, slots_of(run, SHIPPED)) == (2 + SPARE_SLOTS, [0, 1])
    assert run.slots.are_new
    assert run.shared.destination(0, 1)[CONNS] == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"capacity": 2, "slots": [["a", "b", 1, 2]]}', '{"capacity": 3, "slots": [["a", "b", 1, true]]}']
)
def test_a_damaged_file_of_slots_is_not_used(directory: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    a_run()
    (file,) = directory.glob("slots-*")
    file.write_text(text)
    assert slots_of(Kept.from_before(SHIPPED), SHIPPED) == [0, 1]
    assert "real servers get new slots" in caplog.text


@pytest.mark.parametrize("content", [b"", b"another thing", b"l4-appl\n" + bytes(200)])
def test_counters_that_cannot_be_read_start_anew(directory: Path, content: bytes) -> None:
    a_run()
    (file,) = directory.glob("counters-*")
    file.write_bytes(content)
    assert Kept.from_before(SHIPPED).shared.destination(0, 1)[CONNS] == 0


def test_what_is_no_file_in_the_place_of_the_counters_is_not_read(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    a_run()
    (file,) = directory.glob("counters-*")
    file.unlink()
    file.mkdir()
    assert Kept.from_before(SHIPPED).shared.shards == 2
    assert "counters will not outlive this run" in caplog.text


def test_without_a_file_there_is_memory_without_a_name(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.touch()
    assert Kept.from_before(SHIPPED).shared.shards == 2
    assert "counters will not outlive this run" in caplog.text


def test_files_are_for_nobody_else_to_read_and_a_stop_for_good_removes_them(directory: Path) -> None:
    a_run()
    files = list(directory.iterdir())
    assert {file.name.split("-")[0] for file in files} == {"slots", "counters"}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    kept.forget()
    assert list(directory.iterdir()) == []


def test_drains_are_kept_until_a_stop_for_good_and_a_damaged_file_is_none(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept.kept_drains(100.0) == {}
    directory.mkdir(exist_ok=True)
    drains = {Target("web", "192.0.2.101", 8080): Drain(50.0, 160.0)}
    kept.keep_drains(drains)
    assert kept.kept_drains(100.0) == drains
    [file] = directory.glob("drains-*")
    for text in ("", "{", "[1]", "[" * 100_000, '[["web", "192.0.2.101", 8080, NaN, null, false]]'):
        caplog.clear()
        file.write_text(text)
        assert kept.kept_drains(100.0) == {}
        assert "no real server is drained" in caplog.messages[0]
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert kept.kept_drains(100.0) == {}
    kept.forget()
    assert not [*directory.glob("drains-*")]
