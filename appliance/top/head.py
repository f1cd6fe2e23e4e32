"""The lines above a view: the gateway as a whole, what is wrong, which attacks are under way, and which view is shown. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from appliance.top.answers import Attack
from appliance.top.picture import CLIENTS, Picture
from appliance.top.text import Signs, clean, duration, percent, short, sparkline
from appliance.top.view import BAD, DIM, GOOD, HEAD, PLAIN, VIEWS, WARN, Piece

MOST_NOTES = 4
"""Lines about what is wrong, at most."""

_STATUS = {"ok": GOOD, "impaired": WARN, "down": BAD}
_LEAST_TREND = 6
"""Places; where there are fewer, there is no trend."""


class Screen(NamedTuple):
    """What the lines say beside the picture."""

    width: int
    address: str
    time: str
    interval_s: float
    is_paused: bool
    trouble: str
    """Why there is no answer, and since when; or what was refused. Else empty."""
    view: int
    wanted: str
    """The filter."""
    shown: int
    """Rows that the filter lets through."""
    rows: int
    """Rows that there are."""


def head_lines(picture: Picture, screen: Screen, signs: Signs) -> list[list[Piece]]:
    """All lines; their number depends on what is wrong."""
    return [_first(picture, screen), _totals(picture, screen.width, signs), *_notes(picture, screen), _tabs(picture, screen)]


def _first(picture: Picture, screen: Screen) -> list[Piece]:
    condition = picture.condition
    pieces = [Piece("appliance top", HEAD), Piece(f"  {screen.time}  every {screen.interval_s:g}s")]
    if screen.is_paused:
        pieces.append(Piece("  PAUSED", WARN))
    if condition.status:
        pieces += [Piece("  "), Piece(clean(condition.status), BAD if screen.trouble else _STATUS.get(condition.status, PLAIN))]
    if condition.lane:
        pieces.append(Piece(f"  lane {clean(condition.lane)}"))
    return [*pieces, Piece(f"  {clean(screen.address)}", DIM)]


def _totals(picture: Picture, width: int, signs: Signs) -> list[Piece]:
    summary = picture.summary
    most = f"/{short(summary.sessions_max)}" if summary.sessions_max else ""
    text = (
        f"{short(summary.sessions)}{most} sess  {short(summary.new_per_s)} new/s  {short(summary.packets_per_s)} pkts/s  "
        f"{short(summary.in_bits_per_s)} in {short(summary.out_bits_per_s)} out b/s  by lane {percent(summary.carried)}  "
    )
    places = width - len(text)
    return [Piece(text), Piece(sparkline(summary.trend, places, signs.bars) if places >= _LEAST_TREND else "", GOOD)]


def _notes(picture: Picture, screen: Screen) -> list[list[Piece]]:
    notes = [Piece(clean(screen.trouble), BAD)] if screen.trouble else []
    notes += [Piece(_attack(attack), BAD) for attack in picture.attacks]
    notes += [Piece(clean(problem), BAD) for problem in picture.condition.problems]
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES - 1 :] = [Piece(f"and {len(notes) - MOST_NOTES + 1} more", BAD)]
    return [[note] for note in notes]


def _attack(attack: Attack) -> str:
    return (
        f"ATTACK {clean(attack.kind)} for {duration(attack.lasted_s)}: {short(attack.dropped_per_s)} dropped/s, "
        f"peak {short(attack.peak_per_s)}; new {short(attack.new_per_s)}/s, {short(attack.new_per_s_before)} before"
    )


def _tabs(picture: Picture, screen: Screen) -> list[Piece]:
    pieces = list[Piece]()
    for place, view in enumerate(VIEWS):
        pieces += [Piece(f" {place + 1} {view.name} ", HEAD if place == screen.view else PLAIN), Piece(" ")]
    if screen.wanted:
        pieces.append(Piece(f"/{clean(screen.wanted)} ", WARN))
    return [*pieces, Piece(_numbers(picture, screen), DIM)]


def _numbers(picture: Picture, screen: Screen) -> str:
    """How many rows there are, and how many of them are shown."""
    number = f"{screen.shown}" if screen.shown == screen.rows else f"{screen.shown} of {screen.rows}"
    is_about_clients = VIEWS[screen.view].paths == (CLIENTS,)
    return f"{number}; {short(picture.clients.different)} in all" if is_about_clients else number


HELP: Sequence[tuple[str, str]] = (
    ("1 to 5, tab", "services, shards, servers, drops, clients; the next one"),
    ("left, right", "sort by the column before, behind"),
    ("r", "turn the order around"),
    ("/", "show rows with a text; Enter keeps it, Esc clears it"),
    ("up, down, PgUp, PgDn", "scroll; Home and End go to the ends"),
    ("p or space", "pause: ask nothing and change nothing; again to go on"),
    ("+ and -", "ask more seldom, more often"),
    ("?", "this help; any key closes it"),
    ("q", "quit"),
)
"""The keys, and what each does."""

FOOT = "q quit  ? help  1-5 view  left/right sort  r turn  / filter  p pause  +/- pace"
