"""director/early_rules.py: everybody goes by the rules that are found, the shards first."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from appliance.director import early_rules
from appliance.director.early_rules import EarlyRules
from appliance.edge.errors import EdgeError
from appliance.ipc.early import ADMISSIONS, is_on_for_shards
from tests.support.gateway import shared_state


class Scene:
    """Rules that the test chooses, and what those who go by them saw when they were told."""

    def __init__(self) -> None:
        self.answer: str | Exception = ""
        self.shared = shared_state(shards=1, destinations=1)
        self.shared.set_tunables({"prepared_admissions": 1})
        self.told: list[tuple[str, bool, int]] = []
        self.rules = EarlyRules(self.shared, ("eth0",), self._hear)

    def _hear(self) -> None:
        self.told.append((self.rules.reason, is_on_for_shards(self.shared, ADMISSIONS), self.shared.generation[0]))

    def look(self) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr("appliance.edge.early_rules.EarlyRules.look", lambda _: made.look())
    return made


async def test_before_the_first_look_nothing_is_prepared(scene: Scene) -> None:
    assert not is_on_for_shards(scene.shared, ADMISSIONS)
    assert scene.rules.reason
    await scene.rules.look()
    assert is_on_for_shards(scene.shared, ADMISSIONS)
    assert scene.rules.reason == ""


async def test_a_change_is_told_once_and_to_the_shards_first(scene: Scene) -> None:
    before = scene.shared.generation[0]
    await scene.rules.look()
    scene.answer = "a chain"
    await scene.rules.look()
    await scene.rules.look()
    scene.answer = "another chain"
    await scene.rules.look()
    scene.answer = ""
    await scene.rules.look()
    assert scene.told == [
        ("", True, before + 1),
        ("a chain", False, before + 2),
        ("another chain", False, before + 3),
        ("", True, before + 4),
    ]


@pytest.mark.parametrize(("error", "words"), [(EdgeError("no answer"), "at: no answer"), (ValueError("x"), "at: ValueError: x")])
async def test_in_doubt_nothing_is_prepared(scene: Scene, caplog: pytest.LogCaptureFixture, error: Exception, words: str) -> None:
    await scene.rules.look()
    scene.answer = error
    await scene.rules.look()
    await scene.rules.look()
    assert not is_on_for_shards(scene.shared, ADMISSIONS)
    assert scene.rules.reason == f"the rules of the host cannot be looked {words}"
    assert caplog.messages == [scene.rules.reason]


class FakeNotices:
    """A socket of the test in the place of the kernel's."""

    def __init__(self, end: socket.socket) -> None:
        self.sockets = (end,)

    def concern_us(self) -> bool:
        return bool(self.sockets[0].recv(100))

    def close(self) -> None:
        self.sockets[0].close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    monkeypatch.setattr(early_rules, "RuleNotices", lambda: FakeNotices(theirs))
    with ours:
        yield ours


async def test_a_notice_of_the_kernel_is_a_look_at_once(
    scene: Scene, kernel: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_rules, "LOOK_INTERVAL_S", 1e6)
    heard = asyncio.Event()
    monkeypatch.setattr(scene.rules, "_changed", heard.set)
    watching = asyncio.ensure_future(scene.rules.watch())
    kernel.send(b"!")
    await heard.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert is_on_for_shards(scene.shared, ADMISSIONS)
