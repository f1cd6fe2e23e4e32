"""The stories with which the fuzzers begin, byte for byte, and the language in which they are written."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.fuzz.encoding import CLIENT, REAL_SERVER, answer, chorus, expire, reload, scene, segment, wait
from tests.fuzz.stories import STORIES
from tests.support.fuzz_operations import split
from tests.support.fuzzed_shard import SCENE_BYTES

DIGESTS = {
    "opened, used, closed": "3bebdc81cfde24e1",
    "claiming to be another": "1fd3010c643350f6",
    "challenged": "8de10dc7eadcad81",
    "proxied, begun anew": "135e57d76e336570",
    "held": "faf0550f49ed3d33",
    "no answer": "3deca8dadf3ff1d4",
    "refused": "bfd7beb33a9dff76",
    "drained": "a92f267e6a2390fa",
    "scaled": "79134c9b8284143c",
    "storm": "ef4a94789442374c",
    "flooded": "93b53bf90a2ed6c3",
    "removed and back": "e57712fffe954bf2",
    "asked and cut": "7abb857204b0c83c",
    "many in TIME_WAIT": "f09dbe09d4a284b5",
    "many in the same tick": "65a5f278c9ea1bf2",
    "datagrams": "eb6544e2e8ab6b02",
}
"""The first 16 digits of the SHA-256 of each story: one that is changed on purpose changes its line."""

CORPUS = Path(__file__).parent / "corpus"
FOUND = {
    "a_late_syn_that_nobody_counted": "00" * 16 + "0902000000" + "0a0002" + "00" * 15,
    "a_cookie_while_the_real_server_is_asked": "0002" + "00" * 12 + "0100" + "0901000000" + "00" * 15,
}
"""Inputs that fuzzers found, in hexadecimal."""


@pytest.mark.parametrize("story", DIGESTS)
def test_stories_stay_the_same_bytes(story: str) -> None:
    assert sha256(STORIES[story]).hexdigest()[:16] == DIGESTS[story]


def test_every_story_is_pinned() -> None:
    assert DIGESTS.keys() == STORIES.keys()


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_the_same_bytes(name: str) -> None:
    assert (CORPUS / name).read_bytes().hex() == FOUND[name]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (segment(), "00" + "00" * 14),
        (segment(by=CLIENT, of=1, flags="PA", size=3), "00" + "0002010000020000000000030000"),
        (segment(by=REAL_SERVER, flags="A"), "00" + "0004000000010000000000000000"),
        (answer(to=1, flags="RA"), "02" + "010500000000000000"),
        (wait(seconds=2), "03" + "0800"),
        (expire(limit=1), "04" + "01"),
        (chorus(by=REAL_SERVER, flags="FA"), "0a" + "0102"),
        (reload(web=(0, 0), dns=(None, None)), "0e" + "030006"),
    ],
)
def test_named_operands_are_bytes_in_their_places(operation: bytes, expected: str) -> None:
    assert operation.hex() == expected
    assert split(scene() + operation) == [operation]


def test_a_scene_has_its_operands_in_their_places() -> None:
    assert scene() == bytes(SCENE_BYTES)
    assert scene(web="auto", defer=0, backlog=16).hex() == "00020001" + "00" * 10 + "0100"


def test_an_operand_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError, match="colour"):
        segment(colour="red")
    with pytest.raises(ValueError, match="not in"):
        segment(flags="XYZ")
