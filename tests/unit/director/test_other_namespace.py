"""other_namespace.py: the number of a network namespace is given again, and its cookie is not."""

from pathlib import Path

import pytest

from appliance.director import other_namespace
from appliance.director.other_namespace import forget_other_namespace, note_namespace
from appliance.director.runtime_files import kept_keys, namespace_number, state_file
from appliance.edge import netns
from appliance.edge.errors import EdgeError

OURS, OTHER = 4711, 4712


class Pins:
    """The directories with pins, as `edge.bpffs` sees them."""

    def __init__(self) -> None:
        self.names = {str(namespace_number()), "1"}

    def is_there(self, _: Path, name: str) -> bool:
        return name in self.names

    def remove(self, _: Path, name: str) -> None:
        self.names.remove(name)


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pins:
    """All that a run leaves is there, and something of a namespace with another number."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(netns, "cookie", lambda: OURS)
    found = Pins()
    monkeypatch.setattr(other_namespace, "bpffs", found)
    kept_keys()
    for name in ("slots", "counters", "lock", "counters-1", "host"):
        (state_file(name) if name != "counters-1" else tmp_path / name).touch()
    state_file("host").rename(state_file("host").with_suffix(".json"))
    (tmp_path / f"slots-{namespace_number()}.new").touch()
    (tmp_path / f"slots-1{namespace_number()}").touch()
    return found


def names(directory: Path) -> list[str]:
    return sorted(path.name.replace(str(namespace_number()), "N") for path in directory.iterdir())


ALL = [
    "cookie-secret-N",
    "counters-1",
    "counters-N",
    "host-N.json",
    "isn-secret-N",
    "lock-N",
    "slots-1N",
    "slots-N",
    "slots-N.new",
]


def test_what_is_of_this_namespace_stays(tmp_path: Path, pins: Pins) -> None:
    note_namespace()
    forget_other_namespace()
    assert names(tmp_path) == sorted([*ALL, "namespace-N"])
    assert len(pins.names) == 2


def test_what_is_of_one_that_is_gone_is_removed_and_nothing_else(
    tmp_path: Path, pins: Pins, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    note_namespace()
    monkeypatch.setattr(netns, "cookie", lambda: OTHER)
    forget_other_namespace()
    assert names(tmp_path) == ["counters-1", "lock-N", "slots-1N"]
    assert pins.names == {"1"}
    assert len(caplog.messages) == 1
    forget_other_namespace()
    assert len(caplog.messages) == 1, "once"


@pytest.mark.usefixtures("pins")
def test_the_next_run_of_that_one_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    note_namespace()
    monkeypatch.setattr(netns, "cookie", lambda: OTHER)
    forget_other_namespace()
    note_namespace()
    keys = kept_keys()
    forget_other_namespace()
    assert kept_keys() == keys
    assert state_file("namespace").read_text() == str(OTHER)


@pytest.mark.parametrize("note", [None, "", "nonsense", "9" * 40])
def test_without_a_note_that_can_be_read_it_is_ours(tmp_path: Path, pins: Pins, note: str | None) -> None:
    """A version that noted nothing has left it."""
    if note is not None:
        state_file("namespace").write_text(note)
    forget_other_namespace()
    assert set(ALL) <= set(names(tmp_path))
    assert len(pins.names) == 2


@pytest.mark.usefixtures("pins")
def test_a_kernel_without_cookies_goes_by_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_namespace()
    monkeypatch.setattr(netns, "cookie", lambda: None)
    forget_other_namespace()
    note_namespace()
    assert names(tmp_path) == sorted([*ALL, "namespace-N"])
    assert state_file("namespace").read_text() == str(OURS)


@pytest.mark.usefixtures("pins")
def test_a_note_that_is_right_is_not_written_again() -> None:
    """Also a full file system can be read."""
    note_namespace()
    before = state_file("namespace").stat()
    note_namespace()
    assert state_file("namespace").stat() == before


def test_pins_that_stay_end_the_start(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    note_namespace()

    def refuse(*_: object) -> None:
        raise EdgeError("cannot remove: busy")

    monkeypatch.setattr(netns, "cookie", lambda: OTHER)
    monkeypatch.setattr(pins, "remove", refuse)
    with pytest.raises(EdgeError, match="busy"):
        forget_other_namespace()
