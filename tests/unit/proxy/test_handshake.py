"""proxy/handshake.py: the window scale that clients are shown."""

import pytest

from appliance.model.syn_cookie import ADVERTISED_SCALE
from tests.support.proxied import asks
from tests.support.segments import options_of
from tests.support.world import World, plan


@pytest.mark.parametrize("wscale", [0, 1])
def test_every_client_is_shown_the_same_window_scale_unless_it_is_switched_off(wscale: int) -> None:
    options = options_of(asks(World(plan(synproxy="always"), synproxy_wscale=wscale)))
    assert (bytes((3, 3, ADVERTISED_SCALE)) in options) == bool(wscale)
