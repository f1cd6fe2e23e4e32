"""model/token.py: what a token looks like, what the file of tokens may have, and that only the right text finds a token."""

import contextlib
import hashlib
import hmac
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import token
from appliance.model.token import SECRET_BYTES, TOKENS_MAX, Tokens, is_name, line_of, read_tokens, text_of, without_tokens

TEXTS = [text_of(bytes([number]) * SECRET_BYTES) for number in range(3)]
FILE = f"""\
# who may use the API

{line_of("grafana", TEXTS[0], may_write=False)}
  {line_of("ops", TEXTS[1], may_write=True)}
"""


def test_a_token_has_all_random_bytes_and_fits_into_a_header() -> None:
    assert TEXTS[0] == "apl_" + 43 * "A"
    assert text_of(b"\xff" * SECRET_BYTES) == "apl_" + 42 * "_" + "8"


def test_a_line_has_the_hash_and_not_the_token() -> None:
    assert line_of("ops", TEXTS[1], may_write=True) == f"ops read-write sha256:{hashlib.sha256(TEXTS[1].encode()).hexdigest()}"


def test_the_file_says_whose_a_token_is_and_what_it_may() -> None:
    tokens = read_tokens(FILE)
    assert [(one.name, one.may_write) for one in tokens] == [("grafana", False), ("ops", True)]
    assert tokens.find(TEXTS[0]) is tokens[0]
    assert tokens.find(TEXTS[1]) is tokens[1]


@given(
    st.text() | st.sampled_from([TEXTS[2], TEXTS[0][:-1], TEXTS[0] + " ", TEXTS[0].lower(), "", 400 * "x", TEXTS[0] + 300 * "\0"])
)
def test_nothing_else_is_a_token(text: str) -> None:
    assert read_tokens(FILE).find(text) is None


def test_a_token_longer_than_any_is_not_the_one_it_begins_with() -> None:
    """Only its beginning is hashed."""
    long = "x" * token._LONGEST_TOKEN
    assert read_tokens(line_of("odd", long, may_write=True)).find(long + "y") is None


@pytest.mark.parametrize("sent", [TEXTS[0], TEXTS[1], TEXTS[2]])
def test_each_token_is_compared_whichever_it_is(sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = Mock(side_effect=hmac.compare_digest)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    read_tokens(FILE).find(sent)
    assert compare.call_count == 2


def test_there_is_no_token_in_no_file() -> None:
    assert Tokens().find("") is None


GOOD = line_of("ops", TEXTS[0], may_write=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has 0 tokens"),
        ("# nothing\n\n", "it has 0 tokens"),
        ("\n".join(line_of(f"t{number}", str(number), may_write=True) for number in range(TOKENS_MAX + 1)), "it has 257 tokens"),
        (f"{GOOD}\n{line_of('ops', TEXTS[1], may_write=False)}", "line 2: this name or this token stands there already"),
        (f"{GOOD}\n{line_of('other', TEXTS[0], may_write=False)}", "line 2: this name or this token stands there already"),
        (f"\n{TEXTS[0]}", "line 2: it is not NAME"),
        (f"ops read-write {TEXTS[0]}", "line 1: it is not NAME"),
        (f"ops write {GOOD.split()[2]}", "line 1: it is not NAME"),
        (f"o/ps read-write {GOOD.split()[2]}", "line 1: it is not NAME"),
        (f"{GOOD} more", "line 1: it is not NAME"),
        (GOOD.upper(), "line 1: it is not NAME"),
        (GOOD[:-1], "line 1: it is not NAME"),
    ],
)
def test_a_mistake_in_the_file_is_named_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}") as caught:
        read_tokens(text)
    assert "apl_" not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_tokens(text)


@pytest.mark.parametrize(
    ("name", "may_be"),
    [
        ("a", True),
        ("A-z_0.9", True),
        (64 * "a", True),
        (65 * "a", False),
        ("", False),
        ("a b", False),
        ("ä", False),
        ("a\n", False),
    ],
)
def test_names(name: str, may_be: bool) -> None:
    assert is_name(name) is may_be


def test_a_token_in_a_line_of_a_log_is_cut_off() -> None:
    assert without_tokens(f"Bearer {TEXTS[0]}, {TEXTS[1]}!") == "Bearer apl_…, apl_…!"
