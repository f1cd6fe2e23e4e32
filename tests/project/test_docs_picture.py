"""The picture of the packet's way belongs to its source, and can be shown anywhere."""

import re
from xml.etree import ElementTree

from tools.picture import PICTURE, SOURCE, digest, source_digest_of

SVG = PICTURE.read_text()


def test_it_is_drawn_from_its_source_as_it_is_now() -> None:
    assert source_digest_of(SVG) == digest(SOURCE.read_text()), "run `make gen`"


def test_another_source_has_another_digest() -> None:
    assert digest(SOURCE.read_text() + " ") != digest(SOURCE.read_text())


def test_a_picture_without_a_digest_is_seen() -> None:
    assert source_digest_of("<svg/>") is None


def test_it_needs_nothing_from_elsewhere() -> None:
    """No font, image or style sheet of another place; names of XML spaces are no addresses to fetch."""
    assert not re.search(r"(?:href|src)\s*=|@import|url\(", SVG)


def test_it_has_a_background_of_its_own() -> None:
    """A page may be dark; the dark text of the picture stays readable on its own white."""
    background = ElementTree.fromstring(SVG)[1][0]
    assert background.get("fill") == "#ffffff"


def test_it_shows_every_station() -> None:
    shown = " ".join("".join(text.itertext()) for text in ElementTree.fromstring(SVG).iter("{http://www.w3.org/2000/svg}text"))
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
