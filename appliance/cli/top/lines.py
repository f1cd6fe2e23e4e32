"""Lines of pieces as textual draws them. A piece is never read as markup: its clean text is shown as it is."""

from collections.abc import Iterable, Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from appliance.top.rows import Row
from appliance.top.text import Signs
from appliance.top.view import BAD, DIM, GOOD, HEAD, PLAIN, WARN, Column, Order, Piece, View, body_line, fitting, head_line

STYLES = {
    PLAIN: Style(),
    GOOD: Style(color="green"),
    WARN: Style(color="magenta", bold=True),
    BAD: Style(color="red", bold=True),
    DIM: Style(dim=True),
    HEAD: Style(reverse=True, bold=True),
}
"""Colours of the terminal's own palette on its own background, so that they can be read on dark and on light ones.
Nothing is said by a colour alone."""


def as_text(lines: Iterable[Sequence[Piece]]) -> Text:
    """Some lines, each cut off at the end of the widget."""
    text = Text(no_wrap=True, overflow="crop")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for piece in line:
            text.append(piece.text, STYLES[piece.style])
    return text


class Table(ScrollView, can_focus=True):
    """The rows of a view below their titles. Only the lines that can be seen are made."""

    def __init__(self, signs: Signs) -> None:
        super().__init__()
        self._signs = signs
        self._rows: Sequence[Row] = ()
        self._columns: Sequence[tuple[Column, int]] = ()
        self._title: Sequence[Piece] = ()

    def show(self, view: View, rows: Sequence[Row], order: Order) -> None:
        """Show these rows from now on."""
        width = self.size.width
        self._rows = rows
        self._columns = fitting(view, rows, width)
        self._title = head_line(view, self._columns, order, self._signs)
        self.virtual_size = Size(width, len(rows) + 1)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The titles at the top, whatever is scrolled, and a row on each line below."""
        place = y - 1 + self.scroll_offset.y
        if y == 0:
            pieces: Sequence[Piece] = self._title
        elif place < len(self._rows):
            pieces = body_line(self._columns, self._rows[place], self._signs)
        else:
            pieces = ()
        return Strip([Segment(piece.text, STYLES[piece.style]) for piece in pieces]).adjust_cell_length(self.size.width)
