"""The name somebody most likely meant."""

import pytest

from appliance.model.did_you_mean import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "match"),
    [("weigth", "weight"), ("WEIGHT", "weight"), ("Adress", "Address"), ("zzz", None), ("", None)],
)
def test_the_nearest_name(name: str, match: str | None) -> None:
    assert nearest(name, ["port", "weight", "Address"]) == match
    assert did_you_mean(name, ["port", "weight", "Address"]) == (f'; did you mean "{match}"?' if match else "")
