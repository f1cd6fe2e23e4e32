"""What `appliance top` asks a gateway, round by round, and what it makes of failures."""

import asyncio
import time
from collections.abc import Sequence

from appliance.cli.api_client import ApiError, Connection, Question
from appliance.top.answers import AnswerError
from appliance.top.pace import Pace
from appliance.top.picture import ATTACK, CLIENTS, HEALTHZ, LANE_STATS, TABLE, TRAFFIC, Picture

LONGEST_BYTES = 64 << 20
"""Of one answer; two thousand services with ten real servers each have a tenth of this."""

PATIENCE_S = 10.0
"""How long one answer may take."""

CLIENTS_SHOWN = 100

ALWAYS = (LANE_STATS, HEALTHZ, TRAFFIC, TABLE, ATTACK)
"""What every view needs, for the lines above it; the lane first, since that has its packets counted for the others."""

_QUERIES = {CLIENTS: {"by": "client", "n": str(CLIENTS_SHOWN)}}


class Asking:
    """The rounds. Each fills `picture` with what was answered, and says in `trouble` what was not."""

    def __init__(self, connection: Connection, picture: Picture, pace: Pace) -> None:
        self._connection = connection
        self._picture = picture
        self._pace = pace
        self._silent_since = ""
        self.trouble = ""
        """What is wrong, in one line; empty while there are answers."""

    async def round(self, paths: Sequence[str]) -> None:
        """Ask for everything that is due. Without an answer to one question, the others are not asked."""
        self._pace.begin(time.monotonic())
        refusal = ""
        for path in (*ALWAYS, *paths):
            if path == CLIENTS and not self._pace.may_count(time.monotonic()):
                continue
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._ask(path)
            except TimeoutError:
                self._note_silence(f"none within {PATIENCE_S:.0f} s")
                return
            except AnswerError as error:
                refusal = f"{path}: {error}"
            except ApiError as error:
                if not error.status:
                    self._note_silence(str(error))
                    return
                refusal = f"{path} is refused: {error}"
        self._silent_since, self.trouble = "", refusal

    async def _ask(self, path: str) -> None:
        began_s = time.monotonic()
        try:
            answer, length_bytes = await self._connection.read_json(Question("GET", path, _QUERIES.get(path, {})), LONGEST_BYTES)
        finally:
            if path == CLIENTS:
                self._pace.counted(began_s, time.monotonic())
        self._pace.answered(length_bytes)
        self._picture.take(path, (began_s + time.monotonic()) / 2, answer)

    def _note_silence(self, reason: str) -> None:
        self._silent_since = self._silent_since or time.strftime("%H:%M:%S")
        self.trouble = f"no answer since {self._silent_since}: {reason}"
