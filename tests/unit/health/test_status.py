"""status.py: sets of status codes as text."""

import pytest

from appliance.health.status import matches, ranges


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("200-399", (200, 301, 399), (199, 400)),
        ("200-399,404", (200, 404), (403, 405)),
        ("204", (204,), (203, 205)),
        ("100-599", (100, 599), (99, 600)),
        ("200, 500 ,503-504", (200, 500, 503, 504), (201, 502)),
    ],
)
def test_a_set_has_what_it_says(text: str, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    assert all(matches(text, status) for status in inside)
    assert not any(matches(text, status) for status in outside)


@pytest.mark.parametrize(
    "text", ["", "20", "2xx", "200-", "-200", "399-200", "099", "600", "200;201", "200,", "200 - 299", "²00"]
)
def test_what_is_no_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a set|has a range"):
        ranges(text)


def test_a_set_is_not_endless() -> None:
    with pytest.raises(ValueError, match="more than 20 parts"):
        ranges(",".join(["200"] * 21))
