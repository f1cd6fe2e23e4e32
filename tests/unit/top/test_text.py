"""top/text.py: numbers and names in a few places of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from appliance.top.text import ASCII, UNICODE, clean, duration, fitted, percent, short, sparkline, width_of


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"), (0, "0"), (0.04, "0"), (0.05, "0.1"), (7.52, "7.5"), (9.94, "9.9"), (9.96, "10"), (999.4, "999"),
        (999.6, "1.00k"), (1250, "1.25k"), (99_960, "100k"), (999_499, "999k"), (999_600, "1.00M"), (34_500_000, "34.5M"),
        (1.2e12, "1.20T"),
        (2**64, "18.4E"), (1e25, "10000000E"), (-1250, "-1.25k"),
    ],
)  # fmt: skip
def test_short_numbers(number: float | None, text: str) -> None:
    assert short(number) == text


@given(st.floats(0, 1e21))
def test_a_short_number_has_at_most_five_places_and_is_near_the_number(number: float) -> None:
    text = short(number)
    assert len(text) <= 5
    value = float(text.rstrip("kMGTPE")) * 1000 ** " kMGTPE".index(text[-1] if text[-1].isalpha() else " ")
    assert value == pytest.approx(number, rel=0.006, abs=0.051 if number < 10 else 0.51)


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0.0, "0%"), (0.004, "0%"), (0.5, "50%"), (0.996, "99%"), (1.0, "100%"), (1.9, "190%")]
)
def test_percent(share: float | None, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59.9, "59s"), (60, "1m00s"), (185, "3m05s"), (3599, "59m59s"),
        (7800, "2h10m"), (86400, "1d00h"), (1_047_600, "12d03h"),
        (86400 * 2**61, f"{2**61}d00h")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("web", "web"),
        ("büro-日本", "büro-日本"),
        ("a\x1b[31mb", "a?[31mb"),
        ("a\x9b31mb", "a?31mb"),
        ("a\nb\tc\rd", "a?b?c?d"),
        ("left\u202eright", "left?right"),
        ("zero\u200bwidth\u0301", "zero?width?"),
        ("line\u2028end", "line?end"),
        ("no\xa0break\u1680ogham\u2003em\u3000wide", "no?break?ogham?em?wide"),
        ("\ud800", "?"),
        ("[bold]web[/bold]", "[bold]web[/bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_replaced_and_all_else_stays(name: str, shown: str) -> None:
    assert clean(name) == shown


@given(st.text(st.characters(codec=None)), st.integers(0, 20), st.booleans())
def test_a_fitted_text_has_its_width_and_nothing_to_obey(text: str, width: int, to_the_left: bool) -> None:
    shown = fitted(clean(text), width, UNICODE.cut, to_the_left=to_the_left)
    assert width_of(shown) == width
    assert shown.isprintable()


@given(st.text(st.characters(max_codepoint=0xFFFF, categories=("L", "N", "P"))))
def test_widths_are_those_of_the_library_that_draws(text: str) -> None:
    shown = clean(text)
    assert width_of(shown) >= cell_len(shown), "a text never takes more places than it was given"


def test_a_text_is_cut_or_filled_up() -> None:
    assert fitted("web", 5, "~", to_the_left=True) == "web  "
    assert fitted("web", 5, "~", to_the_left=False) == "  web"
    assert fitted("frontend", 5, "~", to_the_left=True) == "fron~"
    assert fitted("日本語", 4, "~", to_the_left=True) == "日~ "
    assert fitted("web", 0, "~", to_the_left=True) == ""


def test_a_sparkline_is_as_wide_as_asked_and_its_top_is_the_greatest_shown() -> None:
    assert sparkline([0, 1, 2, 4], 4, "_.-^") == "_.-^"
    assert sparkline([900, 0, 1, 2, 4], 4, "_.-^") == "_.-^", "what is not shown does not count"
    assert sparkline([None, 3, None, 0], 6, "_.-^") == "   ^ _"
    assert sparkline([0, 0], 2, "_.-^") == "__"
    assert sparkline([1], 0, "_.-^") == ""
    assert ASCII.bars.isascii()
