"""model/stages.py: every name in it is that of a verdict."""

from appliance.model import verdicts
from appliance.model.stages import FIRST_PACKET, HEADERS, STAGES, stage_of
from appliance.model.verdict import ALL


def test_each_name_is_that_of_a_verdict() -> None:
    assert STAGES.keys() <= {verdict.name for verdict in ALL}


def test_a_verdict_has_a_stage_and_one_of_a_packet_without_session_has_the_first() -> None:
    assert stage_of(verdicts.BAD_FLAGS.name) == HEADERS
    assert stage_of(verdicts.NO_SESSION.name) == stage_of("a_new_one") == FIRST_PACKET
