"""cli/top/app.py: the screen, its keys, and what becomes of it while the appliance does not answer. textual's own driver
plays the terminal; the API is the real one of a gateway that the test sets."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from textual.pilot import Pilot

from appliance.api import make_app, serve
from appliance.cli.credentials import Credentials
from appliance.cli.top import asking
from appliance.cli.top.app import Top
from appliance.ipc.queries import ShardDownError
from appliance.model.verdicts import TABLE_FULL
from appliance.top.pace import COUNT_PAUSE_S, Pace
from tests.support.gateway import SERVICES, FakeGateway

_LOOKS = 3000


class Shown:
    """The app on a screen, and the gateway behind it."""

    def __init__(self, app: Top, pilot: "Pilot[None]", gateway: FakeGateway, requests: list[str]) -> None:
        self.app = app
        self.pilot = pilot
        self.gateway = gateway
        self.requests = requests

    @property
    def lines(self) -> list[str]:
        """What can be seen."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def row(self, name: str) -> list[str]:
        """The words of the line that begins with a name; empty ones while there is none."""
        return next((words for words in self._words() if words[0] == name), [""] * 9)

    def rows(self) -> list[str]:
        """The first word of each line below the titles."""
        return [words[0] for words in self._words()]

    def _words(self) -> list[list[str]]:
        lines = self.lines
        heads = [number for number, line in enumerate(lines) if " 1 services " in line]
        return [line.split() for line in lines[heads[0] + 2 : -1] if line] if heads else []

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(_LOOKS):
            if condition():
                return
            await self.pilot.pause(0.02)
        pytest.fail(f"waited in vain; the screen is\n{self.text}")

    async def sees(self, *words: str) -> None:
        await self.until(lambda: all(word in self.text for word in words))

    async def rounds(self, number: int) -> None:
        """Wait until so many rounds of questions have begun from now on."""
        already = self.requests.count("/healthz")
        await self.until(lambda: self.requests.count("/healthz") >= already + number)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


@asynccontextmanager
async def shown(gateway: FakeGateway, columns: int = 80, lines: int = 24, *, is_ascii: bool = False) -> AsyncIterator[Shown]:
    requests: list[str] = []
    api = make_app(gateway)

    async def note(request: web.Request, _: web.StreamResponse) -> None:
        requests.append(request.path)

    api.on_response_prepare.append(note)
    runner = await serve(api, ["127.0.0.1:0"])
    app = Top(f"http://127.0.0.1:{runner.addresses[0][1]}", Credentials(), 0.5, is_ascii=is_ascii)
    try:
        async with app.run_test(size=(columns, lines)) as pilot:
            screen = Shown(app, pilot, gateway, requests)
            await screen.until(lambda: " lane on " in screen.text and bool(screen.rows()))
            yield screen
    finally:
        await runner.cleanup()


@pytest.fixture
def gateway() -> FakeGateway:
    gateway = FakeGateway()
    gateway.attacks.under_way.clear()
    return gateway


async def test_rates_come_with_the_second_answer(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.until(lambda: screen.row("web")[1] == "0")
        gateway.shared.destination(0, 0)[4] += 1_000_000
        await screen.until(lambda: screen.row("web")[1].endswith(("k", "M")))
        assert screen.rows() == ["names", "web"]


async def test_an_answer_while_the_widgets_are_taken_away_ends_nothing(gateway: FakeGateway) -> None:
    """On a slow machine, an answer came between the end of the widgets and that of the program."""
    async with shown(gateway) as screen:
        await screen.app.query_one("#head").remove()
        screen.app.draw()
        await screen.rounds(2)


async def test_digits_and_tab_choose_the_view_and_each_asks_only_for_what_it_shows(gateway: FakeGateway) -> None:
    gateway.shared.table(0, "verdicts")[TABLE_FULL.index] = 7
    gateway.sessions.counts = Counter({"198.51.100.7": 30, "198.51.100.8": 10})
    always = set(asking.ALWAYS)
    async with shown(gateway) as screen:
        for key, words, paths in (
            ("2", ["shard", "lost/s", "all"], {"/stats/queues"}),
            ("tab", ["real server", "192.0.2.101:8080", "connected"], {"/stats/ip_vs", "/health"}),
            ("4", ["reason", "table_full"], {"/stats/drops", "/stats/queues", "/stats/ext"}),
            ("5", ["198.51.100.7", "75%", "2 in all"], {"/conns/top"}),
            ("tab", ["service", "cookies"], {"/stats/ip_vs"}),
            ("shift+tab", ["client", "sessions"], set()),
        ):
            await screen.press(key)
            await screen.sees(*words)
            await screen.rounds(1)
            screen.requests.clear()
            await screen.rounds(2)
            assert always | (paths - {"/conns/top"}) <= set(screen.requests) <= always | paths


async def test_sessions_are_counted_for_the_clients_once_in_a_while(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("5")
        screen.requests.clear()
        await screen.rounds(4)
        assert screen.requests.count("/conns/top") <= 1
        assert not screen.app.pace.may_count(0.0)


async def test_keys_sort_and_turn(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("left", "left", "left")
        assert "service▲" in screen.text
        assert screen.rows() == ["names", "web"]
        await screen.press("r")
        assert "service▼" in screen.text
        assert screen.rows() == ["web", "names"]
        await screen.press("left")
        assert "trend▼" in screen.text, "in front of the first comes the last"
        await screen.press("2", "1")
        assert "trend▼" in screen.text, "each view keeps its order"


async def test_a_filter_is_typed_kept_and_cleared_and_is_no_key(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("slash", *"names")
        assert screen.rows()[0] == "names"
        assert "web" not in screen.rows()
        assert "/names 1 of 2" in screen.text
        await screen.press("enter", "2")
        assert "lost/s" in screen.text, "keys are keys again"
        await screen.press("1", "slash", *"q2", "enter")
        assert screen.app.is_running, "a q in the field does not quit"
        assert "/q2 0 of 2" in screen.text, "what is typed takes the place of the filter before"
        await screen.press("escape")
        assert screen.rows() == ["names", "web"]
        await screen.press("slash", *"x", "escape")
        assert screen.rows() == ["names", "web"]


async def test_a_pause_asks_nothing_and_changes_nothing(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("p")
        await screen.sees("PAUSED")
        await screen.pilot.pause(1.0)  # a round that has begun comes to its end
        screen.requests.clear()
        gateway.services = gateway.services[:1]
        await screen.press("2", "1")
        await screen.pilot.pause(0.7)
        assert screen.requests == []
        assert screen.rows() == ["names", "web"]
        await screen.press("p")
        await screen.until(lambda: screen.rows() == ["web"])
        assert "PAUSED" not in screen.text


async def test_plus_and_minus_change_the_pace(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("plus", "plus")
        assert " every 2s " in screen.text
        await screen.press("minus")
        assert " every 1s " in screen.text


async def test_the_help_is_closed_by_any_key_which_does_nothing_else(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        for key in ("2", "escape", "tab", "q", "question_mark"):
            await screen.press("question_mark")
            await screen.sees("keys of appliance top", "quit")
            await screen.press(key)
            await screen.sees("1 services", "cookies")
        assert screen.app.is_running


async def test_q_quits(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        await screen.press("q")
        assert not screen.app.is_running
        assert screen.app.return_code == 0


async def test_more_rows_than_lines_are_scrolled_below_their_titles(gateway: FakeGateway) -> None:
    gateway.services = tuple(replace(SERVICES[0], name=f"s{number:03}") for number in range(200))
    async with shown(gateway) as screen:
        await screen.until(lambda: "s000" in screen.rows())
        assert "s100" not in screen.rows()
        await screen.press("end")
        await screen.until(lambda: "s199" in screen.rows())
        assert "pkts/s" in screen.text, "the titles stay"
        assert screen.rows()[-1] == "s199"
        await screen.press("home")
        await screen.until(lambda: screen.rows()[0] == "s000")


async def test_another_size_has_other_columns(gateway: FakeGateway) -> None:
    async with shown(gateway) as screen:
        assert "address" not in screen.text
        await screen.pilot.resize_terminal(160, 40)
        await screen.sees("address", "TCP 203.0.113.10:80")
        assert len(screen.lines) == 40
        await screen.pilot.resize_terminal(40, 10)
        await screen.until(lambda: "address" not in screen.text and "pkts/s" in screen.text)


async def test_names_are_no_markup_and_no_commands_for_the_terminal(gateway: FakeGateway) -> None:
    odd = "[red]a\x1b[2J\n\u202eb[/"
    gateway.services = (replace(SERVICES[0], name=odd), SERVICES[1])
    gateway.problems = ["[bold]rules[/bold] \x1b]0;title\x07"]
    async with shown(gateway) as screen:
        await screen.sees("[red]a?[2J??b[/", "[bold]rules[/bold] ?]0;title?")
        assert len(screen.rows()) == 2
        await screen.press("slash", *"[/red", "enter")
        await screen.sees("/[/red 0 of 2")


async def test_a_gateway_that_is_not_well_is_shown_and_so_is_an_attack() -> None:
    gateway = FakeGateway()
    gateway.states[1] = gateway.states[1]._replace(up=False, pid=None)
    async with shown(gateway) as screen:
        await screen.sees("  down  ", "ATTACK fragment_flood")
        await screen.press("2")
        await screen.until(lambda: screen.row("1")[1] == "down")


async def test_it_says_since_when_there_is_no_answer_and_goes_on_by_itself(gateway: FakeGateway) -> None:
    api = make_app(gateway)
    runner = await serve(api, ["127.0.0.1:0"])
    port = runner.addresses[0][1]
    app = Top(f"http://127.0.0.1:{port}", Credentials(), 0.5)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = Shown(app, pilot, gateway, [])
        await screen.until(lambda: "web" in screen.rows())
        await runner.cleanup()
        await screen.sees("no answer since ")
        said = [line for line in screen.lines if "no answer" in line]
        assert screen.rows() == ["names", "web"], "what was known stays"
        await screen.pilot.pause(0.6)
        assert [line for line in screen.lines if "no answer" in line] == said, "since the first time"
        runner = await serve(make_app(gateway), [f"127.0.0.1:{port}"])
        await screen.until(lambda: "no answer" not in screen.text)
    await runner.cleanup()


async def test_what_is_refused_is_said_and_the_rest_is_shown(gateway: FakeGateway) -> None:
    gateway.sessions.error = ShardDownError(1)
    async with shown(gateway) as screen:
        await screen.press("5")
        await screen.sees("/conns/top is refused: ", " lane on ")
        await screen.press("1")
        await screen.until(lambda: "refused" not in screen.text and screen.rows() == ["names", "web"])


class Silent:
    """A connection that answers what the test says, or nothing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def read_json(self, question: Any, _: int) -> tuple[Any, int]:
        self.asked.append(question.path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, 10


async def test_after_one_question_without_an_answer_no_more_are_asked() -> None:
    silent: Any = Silent(TimeoutError())
    rounds = asking.Asking(silent, Top("unix:/x", Credentials(), 1.0).picture, Pace(1.0))
    await rounds.round(("/stats/ip_vs",))
    assert silent.asked == [asking.ALWAYS[0]]
    assert rounds.trouble.startswith("no answer since ")
    assert rounds.trouble.endswith(": none within 10 s")


async def test_an_answer_that_is_none_of_an_appliance_is_said() -> None:
    odd: Any = Silent([])
    rounds = asking.Asking(odd, Top("unix:/x", Credentials(), 1.0).picture, Pace(1.0))
    await rounds.round(("/stats/ip_vs",))
    assert odd.asked == [*asking.ALWAYS, "/stats/ip_vs"]
    assert rounds.trouble == "/stats/ip_vs: an object of the answer is none"
    assert COUNT_PAUSE_S == 10.0
