"""director/of_services.py: a map of the lane comes to what is wanted, also when the kernel refuses a part of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.director.of_services import OfServices
from appliance.edge.errors import EdgeError


class Kernel:
    """A map that refuses each call behind some of its entries."""

    def __init__(self) -> None:
        self.map: dict[bytes, int] = {}
        self.put_keys: list[bytes] = []
        self.most = 99

    def remove(self, keys: Sequence[bytes]) -> None:
        for key in self._until_refused(keys):
            self.map.pop(key, None)

    def put(self, values: Mapping[bytes, int]) -> None:
        for key in self._until_refused(list(values)):
            self.map[key] = values[key]
            self.put_keys.append(key)

    def _until_refused(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        yield from keys[: self.most]
        if len(keys) > self.most:
            raise EdgeError("refused")


def brought(there: OfServices[int], kernel: Kernel, wanted: Mapping[bytes, int], most: int = 99) -> None:
    kernel.most = most
    there.bring_to(wanted, kernel.remove, kernel.put)


def test_only_what_differs_is_put() -> None:
    there, kernel = OfServices[int](), Kernel()
    brought(there, kernel, {b"a": 1, b"b": 2})
    brought(there, kernel, {b"a": 1, b"b": 3, b"c": 4})
    assert kernel.put_keys == [b"a", b"b", b"b", b"c"]
    assert there.are({b"a": 1, b"b": 3, b"c": 4})


def test_what_was_put_before_a_refusal_is_removed_when_it_is_no_longer_wanted() -> None:
    there, kernel = OfServices[int](), Kernel()
    with pytest.raises(EdgeError):
        brought(there, kernel, {b"a": 1, b"b": 2}, most=1)
    assert kernel.map == {b"a": 1}
    assert not there.are({})
    brought(there, kernel, {})
    assert kernel.map == {}
    assert there.are({})


def test_what_was_removed_before_a_refusal_is_put_again_when_it_is_wanted_again() -> None:
    there, kernel = OfServices[int](), Kernel()
    brought(there, kernel, {b"a": 1, b"b": 2})
    with pytest.raises(EdgeError):
        brought(there, kernel, {}, most=1)
    assert kernel.map == {b"b": 2}
    assert not there.are({b"a": 1, b"b": 2})
    brought(there, kernel, {b"a": 1, b"b": 2})
    assert kernel.map == {b"a": 1, b"b": 2}


_WANTED = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 2))


@given(st.lists(st.tuples(_WANTED, st.integers(0, 4)), max_size=6), _WANTED)
def test_after_any_refusals_the_map_is_as_wanted(tried: list[tuple[dict[bytes, int], int]], wanted: dict[bytes, int]) -> None:
    there, kernel = OfServices[int](), Kernel()
    for one, most in tried:
        with suppress(EdgeError):
            brought(there, kernel, one, most)
            assert kernel.map == one
        assert not there.are(one) or kernel.map == one
    brought(there, kernel, wanted)
    assert kernel.map == wanted
    assert there.are(wanted)
