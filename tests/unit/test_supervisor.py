"""supervisor.py without processes: what is answered while a worker is not there."""

from unittest.mock import Mock

import pytest

from appliance.supervisor import ShardDownError, ShardProcess
from tests.support.scripted import plan


@pytest.mark.parametrize("writer", [None, Mock()], ids=["no worker", "a worker that is still starting"])
async def test_sessions_of_a_worker_that_is_not_ready_are_refused_at_once(writer: Mock | None) -> None:
    process = ShardProcess(plan(), shared_fd=-1)
    process._writer = writer
    with pytest.raises(ShardDownError, match="shard 0"):
        await anext(process.sessions())
    if writer is not None:
        writer.write.assert_not_called()
