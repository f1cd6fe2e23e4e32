"""top/head.py: the lines above a view."""

import pytest

from appliance.top.answers import Attack, Clients, Condition
from appliance.top.head import FOOT, HELP, MOST_NOTES, Screen, head_lines
from appliance.top.picture import TABLE, TRAFFIC, Picture
from appliance.top.text import ASCII
from appliance.top.view import BAD, HEAD, VIEWS, WARN

SCREEN = Screen(80, "unix:/run/appliance/api.sock", "14:41:03", 1.0, False, "", 0, "", 3, 3)


def lines(picture: Picture, screen: Screen = SCREEN) -> list[str]:
    return ["".join(piece.text for piece in line) for line in head_lines(picture, screen, ASCII)]


def styles(picture: Picture, screen: Screen, word: str) -> set[str]:
    return {piece.style for line in head_lines(picture, screen, ASCII) for piece in line if word in piece.text}


def moving() -> Picture:
    picture = Picture()
    for second, number in ((1.0, 0), (2.0, 100)):
        row = {"shards": [number], "lane": 3 * number}
        fields = dict.fromkeys(("in_packets", "out_packets", "in_bytes", "out_bytes"), row)
        picture.take(TRAFFIC, second, {"totals": fields | {"conns": {"shards": [number], "lane": 0}}})
    picture.take(TABLE, 2.0, {"appliance": {"count": 1250, "max": 100_000}})
    picture.condition = Condition("ok", (), "on", ())
    return picture


def test_a_gateway_that_is_well_has_three_lines() -> None:
    first, second, tabs = lines(moving())
    assert first == "appliance top  14:41:03  every 1s  ok  lane on  unix:/run/appliance/api.sock"
    assert second == "1.25k/100k sess  100 new/s  800 pkts/s  3.20k in 3.20k out b/s  by lane 75%  "[:80]
    assert tabs == " 1 services   2 shards   3 servers   4 drops   5 clients  3"
    assert styles(moving(), SCREEN, "1 services") == {HEAD}


def test_a_wide_terminal_has_a_trend_of_the_packets() -> None:
    assert lines(moving(), SCREEN._replace(width=90))[1].endswith("@")


def test_what_is_wrong_stands_below_and_only_so_much_of_it() -> None:
    picture = moving()
    picture.condition = Condition("impaired", tuple(f"problem {number}" for number in range(9)), "off (no \x1b[2J libbpf)", ())
    picture.attacks = (Attack("syn_flood", 75.0, 12_000.0, 30_000.0, 5.0, 800.0),)
    first, _, trouble, attack, problem, more, _ = lines(picture, SCREEN._replace(trouble="no answer since 14:40:00: refused"))
    assert "impaired  lane off (no ?[2J libbpf)" in first
    assert trouble == "no answer since 14:40:00: refused"
    assert attack == "ATTACK syn_flood for 1m15s: 12.0k dropped/s, peak 30.0k; new 5/s, 800 before"
    assert (problem, more) == ("problem 0", "and 8 more")
    assert MOST_NOTES == 4
    assert styles(picture, SCREEN, "ATTACK") == {BAD}


def test_pause_and_filter_are_said() -> None:
    screen = SCREEN._replace(is_paused=True, wanted="[bold]\x1b", shown=1)
    first, _, tabs = lines(moving(), screen)
    assert "  PAUSED  " in first
    assert tabs.endswith("  /[bold]? 1 of 3")
    assert styles(moving(), screen, "PAUSED") == {WARN}


def test_the_view_of_clients_says_how_many_there_are_in_all() -> None:
    picture = moving()
    picture.clients = Clients(5000, 1234, (("198.51.100.7", 9),))
    assert lines(picture, SCREEN._replace(view=4))[-1].endswith("  3; 1.23k in all")


def test_the_help_has_a_line_that_fits_for_each_key_of_the_foot() -> None:
    width = max(len(keys) for keys, _ in HELP) + 2
    assert all(width + len(what) <= 80 for _, what in HELP)
    assert len(FOOT) <= 80
    keys = " ".join(keys for keys, _ in HELP)
    assert all(key in keys for key in ("q", "?", "1 to 5", "tab", "left, right", "r", "/", "p", "+ and -"))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_each_view_is_in_the_help(view: object) -> None:
    assert any(getattr(view, "name", "") in what for _, what in HELP)
