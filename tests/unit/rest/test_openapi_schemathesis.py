"""schemathesis asks the API, over TCP, what its OpenAPI document allows and much that it forbids, and looks at each answer."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from appliance.api import make_app
from appliance.ipc.queries import SessionFilter, parse_place
from appliance.ipc.rows import Page
from appliance.rest import identity
from appliance.rest.listen import serve
from tests.support.gateway import SESSION, UDP_SESSION, FakeGateway, FakeSessions

CONFIG = Path(__file__).parent / "schemathesis.toml"
SEED, EXAMPLES = 1, 10
"""EXAMPLES are what it makes up for each operation, beside those that it derives from the document one by one."""


class StrictSessions(FakeSessions):
    """Sessions that look at places, as those of the director do."""

    async def page(self, wanted: SessionFilter, limit: int, after: str) -> Page:
        """Raises QueryError for what is no place."""
        if after:
            parse_place(after)
        return await super().page(wanted, limit, after)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    monkeypatch.setattr(identity, "DELAY_S", 0)
    gateway = FakeGateway()
    gateway.sessions = StrictSessions()
    gateway.sessions.batches = [[SESSION, UDP_SESSION]]
    gateway.sessions.counts = Counter({"198.51.100.2": 3})
    return gateway


@pytest.mark.slow
async def test_schemathesis_finds_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    options = (f"--seed={SEED}", f"--max-examples={EXAMPLES}", "--phases=examples,coverage,fuzzing", "--checks=all", "--no-color")
    command = (str(Path(sys.executable).parent / "schemathesis"), f"--config-file={CONFIG}", "run", f"{address}/openapi.json")
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    await runner.cleanup()
    assert process.returncode == 0, said.decode()
    assert b"No issues found" in said, said.decode()
