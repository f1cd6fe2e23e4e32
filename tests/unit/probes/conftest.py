"""One check of a server on loopback."""

from typing import Any

from appliance.health.answer import Answer
from appliance.health.check import Check, Target
from appliance.probes.probe import ask

LOOPBACK = "127.0.0.1"


def check(kind: str, port: int = 0, **fields: Any) -> Check:
    usual: dict[str, Any] = {"sources": (LOOPBACK,), "own_ports": False, "timeout_s": 5.0, "rise": 1, "fall": 1}
    return Check(kind=kind, port=port, interval_s=5.0, fast_interval_s=1.0, **(usual | fields))


async def asked(kind: str, port: int = 0, **fields: Any) -> Answer:
    """The answer of this check, without the time that it took."""
    answer = await ask(check(kind, port, **fields), Target("web", LOOPBACK, port))
    return answer._replace(words=answer.words.rpartition(" in ")[0]) if answer.words.endswith(" ms") else answer
