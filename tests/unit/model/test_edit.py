"""model/edit.py: which version of a value a change is for."""

from typing import Any

import pytest

from appliance.model.edit import ANY_VERSION, NOT_THERE, ChangeRefusedError, check_version, version_of

VALUE = {"weight": 1}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (VALUE, ()),
        (None, ()),
        (VALUE, (ANY_VERSION,)),
        (VALUE, ("0", version_of(VALUE))),
        (None, (NOT_THERE,)),
    ],
)
def test_a_change_for_this_version(value: Any, wanted: tuple[str, ...]) -> None:
    check_version(value, wanted)


@pytest.mark.parametrize(
    ("value", "wanted", "why"),
    [
        (VALUE, ("0",), "not as If-Match says"),
        (VALUE, ("",), "not as If-Match says"),
        (VALUE, (NOT_THERE,), "it is there already, and If-None-Match says"),
        (None, (ANY_VERSION,), "not as If-Match says"),
        (None, (version_of(None),), "not as If-Match says"),
    ],
)
def test_a_change_for_another_version(value: Any, wanted: tuple[str, ...], why: str) -> None:
    with pytest.raises(ChangeRefusedError, match=why):
        check_version(value, wanted)
