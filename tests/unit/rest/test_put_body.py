"""rest/put_body.py: what the body of a PUT means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.tunables import TunableError
from appliance.rest.put_body import read_asked_value

FORM = "application/x-www-form-urlencoded"
TTL = "synproxy_synack_ttl"


@given(st.integers(1, 255), st.sampled_from(["", " ", "\t", "\r\n", "  \n"]))
def test_text_and_json_mean_the_same_integer(value: int, blank: str) -> None:
    text = f"{blank}{value}{blank}".encode()
    document = blank.encode() + json.dumps({"value": value}).encode() + blank.encode()
    for body, content_type in ((text, FORM), (text, "application/json"), (document, FORM), (document, "application/json")):
        assert read_asked_value(body, content_type).for_tunable(TTL) == value


def test_form_of_a_json_number_is_text() -> None:
    assert read_asked_value(b" 63 ", FORM).shown == "63"
    assert read_asked_value(b" 63 ", "application/json").shown == 63


@pytest.mark.parametrize("body", [b'{"value": "63"}', b'{"value": true}', b'{"value": 63.0}', b'{"value": {}}', b"{}"])
def test_json_has_integers_of_its_own(body: bytes) -> None:
    with pytest.raises(TunableError, match=r"^synproxy_synack_ttl: .* is not .*INTEGER\} \(allowed: 1\.\.255 hops\)$"):
        read_asked_value(body, FORM).for_tunable(TTL)


def test_a_refused_value_is_shown_short() -> None:
    long_list = b'{"value": [' + b"1, " * 1000 + b"1]}"
    assert len(read_asked_value(long_list, FORM).shown) == 80
    assert len(read_asked_value(b'{"value": "' + b"x" * 1000 + b'"}', FORM).shown) == 80
    assert len(read_asked_value(b"x" * 1000, FORM).shown) == 80


@given(st.binary(), st.sampled_from([FORM, "application/json"]))
def test_any_bytes_are_understood_or_malformed(body: bytes, content_type: str) -> None:
    try:
        asked = read_asked_value(body, content_type)
    except ValueError:
        return
    json.dumps(asked.shown, allow_nan=False)
