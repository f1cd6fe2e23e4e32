"""rest/accept_header.py: a row is an Accept header, and whether it gets JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.rest.accept_header import prefers_json

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("*/*", False),
        ("", False),
        (BROWSER, False),
        ("image/png", False),
        ("text/plain", False),
        ("text/*", False),
        ("application/json", True),
        ("Application/JSON", True),
        ("application/*", True),
        ("application/json, text/plain, */*", True),
        ("text/plain, application/json", False),
        ("*/*, application/json", True),
        ("*/*, text/plain", False),
        ("application/json;q=0.5, text/plain", False),
        ("application/json;q=0.9, text/plain;q=0.5", True),
        ("application/json;q=0.1, */*", False),
        ("text/plain;q=0.1, */*", True),
        ("application/json;q=0", False),
        ("text/plain;q=0, */*", True),
        ("application/json; charset=utf-8; q=0.8, text/plain; q=0.7", True),
        ("application/problem+json", False),
    ],
)
def test_preference(accept: str, json: bool) -> None:
    assert prefers_json(accept) is json


@given(st.text())
def test_any_header_has_an_answer(accept: str) -> None:
    assert prefers_json(accept) in (True, False)
    assert prefers_json(f"application/json, {accept.replace('text', '').replace('q', '')}")
