"""The lane's program and `Shard.handle`: two implementations of one thing, and no difference between them."""

import os
from collections import Counter

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from appliance.model.lane_counters import LANE_COUNTERS
from tests.kernel.lane import Lane
from tests.kernel.moves import live

_USUAL_LIVES = 900
LIVES = int(os.environ.get("LANE_LIVES", _USUAL_LIVES))
"""Fewer where the machine is slow."""

BYTES_OF_A_LIFE, LEAST_PACKETS_OF_A_LIFE = 1200, 112
"""A packet takes some nine bytes of the life's. Nine hundred lives are a hundred thousand packets."""

LEAST_CARRIED = 0.45

_NOT_HERE = {
    "up_closed", "up_side", "up_segments", "up_race", "up_room", "up_key", "cookie_sent", "opened", "up_empty", "up_syn",
    "bad_cookie", "null_cookie_ack", "stray", "bad_flags", "endpoint_reused", "source_limit",
    "proven", "joined", "up_proof", "up_proofs", "client_returned", "syn_again", "up_new_client",
}  # fmt: skip
"""Reasons that have tests of their own, or that take two CPUs or a lack of memory."""


def test_lives(lane: Lane) -> None:
    told = Counter[str]()

    @settings(max_examples=LIVES, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink a life takes minutes
    @given(st.binary(min_size=BYTES_OF_A_LIFE, max_size=BYTES_OF_A_LIFE))
    def a_life(data: bytes) -> None:
        told.update(live(lane, data).told)

    a_life()
    ups = sum(number for name, number in told.items() if name.startswith("up_"))
    packets = told["carried"] + ups + told["storm"]
    print(f"\n{packets} packets: {told}")
    assert packets >= LIVES * LEAST_PACKETS_OF_A_LIFE
    assert told["carried"] >= packets * LEAST_CARRIED
    if LIVES >= _USUAL_LIVES:
        assert {counter.name for counter in LANE_COUNTERS} - told.keys() == _NOT_HERE
