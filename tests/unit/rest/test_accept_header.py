"""rest/accept_header.py: a row is a header, and what its sender gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.rest.accept_header import preferred, prefers_json, takes_gzip

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


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "text/plain"),
        ("application/*", "application/openmetrics-text"),
        ("application/json, application/openmetrics-text", "application/json"),
        ("application/openmetrics-text;q=0.5, application/json;q=0.4, text/plain;q=0.3", "application/openmetrics-text"),
        ("image/png", "text/plain"),
    ],
)
def test_the_best_of_three(accept: str, expected: str) -> None:
    assert preferred(("text/plain", "application/openmetrics-text", "application/json"), accept) == expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("", False),
        ("br, gzip;q=0.1", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzipp", False),
    ],
)
def test_gzip(accept_encoding: str, expected: bool) -> None:
    assert takes_gzip(accept_encoding) is expected
