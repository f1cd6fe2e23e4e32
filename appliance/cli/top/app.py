"""The screen of `appliance top`.

textual draws it: the library that is kept best of those for this, with a driver for tests. It is used without its themes:
everything is in the terminal's own colours, so that dark and light ones work, and NO_COLOR leaves bold, dim and reverse. The
mouse stays with the terminal.
"""

import asyncio
import signal
import time
from contextlib import suppress
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from appliance.cli.api_client import connected
from appliance.cli.credentials import Credentials
from appliance.cli.top.asking import Asking
from appliance.cli.top.lines import Table, as_text
from appliance.top.head import FOOT, HELP, Screen, head_lines
from appliance.top.pace import Pace
from appliance.top.picture import Picture
from appliance.top.text import ASCII, UNICODE
from appliance.top.view import DIM, HEAD, VIEWS, Order, Piece, View, arranged

_LONGEST_FILTER = 60

_TICK_S = 0.1
"""How soon a key that concerns the questions has its effect."""


class Help(ModalScreen[None]):
    """What the keys do. Any key closes it."""

    CSS = "Help { background: ansi_default; } Help Static { background: ansi_default; }"

    def compose(self) -> ComposeResult:
        """One line for each key."""
        width = max(len(key) for key, _ in HELP)
        lines = [[Piece("keys of appliance top", HEAD)], [], *([Piece(f"{key:{width}}  {what}")] for key, what in HELP)]
        yield Static(as_text(lines))

    def on_key(self, event: events.Key) -> None:
        """Close it."""
        event.stop()
        event.prevent_default()
        self.dismiss()


class Top(App[None]):
    """The whole screen: lines about the gateway, the rows of a view, a line about the keys."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen, Static, Table, Input { background: ansi_default; color: ansi_default; }
    #head, #foot { height: auto; text-wrap: nowrap; text-overflow: clip; }
    Table { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x: hidden; border: none; }
    Table:focus { border: none; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(place + 1), f"view({place})", show=False) for place in range(len(VIEWS))),
        Binding("tab", "next_view(1)", show=False, priority=True),
        Binding("shift+tab", "next_view(-1)", show=False, priority=True),
        Binding("left,less_than_sign", "sort(-1)", show=False),
        Binding("right,greater_than_sign", "sort(1)", show=False),
        Binding("r", "turn", show=False),
        Binding("slash", "ask_filter", show=False),
        Binding("escape", "no_filter", show=False, priority=True),
        Binding("p,space", "pause", show=False),
        Binding("plus,equals_sign", "pace(1)", show=False),
        Binding("minus", "pace(-1)", show=False),
        Binding("question_mark,h", "help", show=False),
        Binding("q", "quit", show=False),
    ]

    def __init__(self, address: str, credentials: Credentials, interval_s: float, *, is_ascii: bool = False) -> None:
        super().__init__(ansi_color=True)
        self.address = address
        self._credentials = credentials
        self._signs = ASCII if is_ascii else UNICODE
        self.picture = Picture()
        self.pace = Pace(interval_s)
        self.trouble = "waiting for the first answer"
        self.place = 0
        self.orders = [Order(view.sort) for view in VIEWS]
        self.wanted = ""
        self.is_paused = False
        self._time = ""
        self._is_due = True

    @property
    def view(self) -> View:
        """The view that is shown."""
        return VIEWS[self.place]

    def compose(self) -> ComposeResult:
        """The widgets from top to bottom."""
        yield Static(id="head")
        yield Table(self._signs)
        yield Input(id="filter", placeholder="text in a row; Enter keeps it, Esc takes it away", max_length=_LONGEST_FILTER)
        yield Static(as_text([[Piece(FOOT, DIM)]]), id="foot")

    def on_mount(self) -> None:
        """Begin to ask. A terminal is left as it was also when SIGTERM ends this."""
        self.query_one(Table).focus()
        self.draw()
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in a thread, as in tests
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.run_worker(self._ask(), exclusive=True)

    async def _ask(self) -> None:
        async with connected(self.address, self._credentials) as connection:
            asking = Asking(connection, self.picture, self.pace)
            while True:
                if not self.is_paused and (self._is_due or time.monotonic() >= self.pace.next_round_s()):
                    self._is_due = False
                    await asking.round(self.view.paths)
                    self.trouble = asking.trouble
                    self._time = time.strftime("%H:%M:%S")
                    self.draw()
                await asyncio.sleep(_TICK_S)

    def draw(self) -> None:
        """Show what is known now."""
        rows = self.view.rows(self.picture)
        shown = arranged(self.view, rows, self.orders[self.place], self.wanted)
        said = Screen(
            self.size.width,
            self.address,
            self._time or time.strftime("%H:%M:%S"),
            self.pace.pause_s,
            self.is_paused,
            self.trouble,
            self.place,
            self.wanted,
            len(shown),
            len(rows),
        )
        base = self.screen_stack[0]
        with suppress(NoMatches):  # a resize at the start, or an answer at the end: the widgets are not there yet, or no more
            base.query_one("#head", Static).update(as_text(head_lines(self.picture, said, self._signs)))
            base.query_one(Table).show(self.view, shown, self.orders[self.place])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:  # noqa: ARG002  # textual's own signature
        """No key has its effect while the help is shown: it closes that."""
        return not isinstance(self.screen, Help)

    def on_resize(self) -> None:
        """Another width has room for other columns."""
        self.call_after_refresh(self.draw)

    def action_view(self, place: int) -> None:
        """Show a view, from its top, and ask for what it needs."""
        if place != self.place:
            self.place, self._is_due = place, True
            self.query_one(Table).scroll_home(animate=False)
            self.draw()

    def action_next_view(self, steps: int) -> None:
        """Show the next view, or the one before."""
        self.action_view((self.place + steps) % len(VIEWS))

    def action_sort(self, steps: int) -> None:
        """Sort by another column."""
        order = self.orders[self.place]
        self._sort(Order((order.column + steps) % len(self.view.columns)))

    def action_turn(self) -> None:
        """Turn the order around."""
        order = self.orders[self.place]
        self._sort(order._replace(is_turned=not order.is_turned))

    def _sort(self, order: Order) -> None:
        self.orders[self.place] = order
        self.draw()

    def action_pause(self) -> None:
        """Ask nothing, or go on."""
        self.is_paused = not self.is_paused
        self.draw()

    def action_pace(self, steps: int) -> None:
        """Ask more seldom, or more often."""
        self.pace.change(steps)
        self.draw()

    def action_help(self) -> None:
        """Show what the keys do."""
        self.push_screen(Help())

    def action_ask_filter(self) -> None:
        """Take the text that rows are to have."""
        field = self.query_one("#filter", Input)
        field.value = self.wanted
        field.display = True
        self.screen.set_focus(field)  # at once, so that keys that are typed fast are in the field already

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while the user types."""
        self.wanted = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def action_no_filter(self) -> None:
        """Show all rows again."""
        self.query_one("#filter", Input).value = self.wanted = ""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.screen.set_focus(self.query_one(Table))
        self.draw()


def show(address: str, credentials: Credentials, interval_s: float, *, is_ascii: bool) -> None:
    """Show the gateway at `address` until the user quits."""
    Top(address, credentials, interval_s, is_ascii=is_ascii).run(mouse=False)
