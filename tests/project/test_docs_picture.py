"""The pictures of packets belong to their sources, and can be shown anywhere."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.picture import SOURCES, digest, picture_of, source_digest_of

every_picture = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def svg_of(source: Path) -> str:
    return picture_of(source).read_text()


def shown_in(source: Path) -> str:
    """All text of a picture."""
    texts = ElementTree.fromstring(svg_of(source)).iter("{http://www.w3.org/2000/svg}text")
    return " ".join("".join(text.itertext()) for text in texts)


@every_picture
def test_it_is_drawn_from_its_source_as_it_is_now(source: Path) -> None:
    assert source_digest_of(svg_of(source)) == digest(source.read_text()), "run `make gen`"


def test_another_source_has_another_digest() -> None:
    assert digest("digraph {}") != digest("digraph {} ")


def test_a_picture_without_a_digest_is_seen() -> None:
    assert source_digest_of("<svg/>") is None


@every_picture
def test_it_needs_nothing_from_elsewhere(source: Path) -> None:
    """No font, image or style sheet of another place; names of XML spaces are no addresses to fetch."""
    assert not re.search(r"(?:href|src)\s*=|@import|url\(", svg_of(source))


@every_picture
def test_it_has_a_background_of_its_own(source: Path) -> None:
    """A page may be dark; the dark text of the picture stays readable on its own white."""
    background = ElementTree.fromstring(svg_of(source))[1][0]
    assert background.get("fill") == "#ffffff"


def test_it_of_the_way_shows_every_station() -> None:
    shown = shown_in(next(source for source in SOURCES if source.stem == "packet-way"))
    for station in (
        "client",
        "steering",
        "defence",
        "NFQUEUE",
        "sanity",
        "session table",
        "first packet",
        "SYNPROXY",
        "TCP state",
        "FULLNAT",
        "routing",
        "real server",
        "director",
        "API",
        "reply",
    ):
        assert station in shown, station
