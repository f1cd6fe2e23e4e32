"""The session log: it takes what workers tell of sessions that have ended, and writes a line for each.

Nothing waits for it. Lines are written in a thread, while a bounded number waits; a full disk, or a reader that does not read,
costs lines, which are counted, and nothing else.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf

from appliance.config.session_log import FILE, JOURNAL, OFF, SessionLog
from appliance.director import workers
from appliance.director.plans import told_of
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.edge.line_output import LineOutput, RotatedFile, StandardError, Written
from appliance.ipc.messages import Ended
from appliance.ipc.rows import SessionEnd, SessionLogCounts
from appliance.sessions.log_line import left_out_line, session_line

log = logging.getLogger("appliance.director")

INTERVAL_S = 0.2
"""How often lines are written."""

MOST_WAITING = 10_000
"""Sessions that wait to be written, at most: ten megabytes."""

SAY_INTERVAL_S = 1.0
"""How often a line says how many were left out, at most."""

_PATIENCE_S = 1.0
"""How long a write waits for the one before it, which may hang with its disk."""

_NS_PER_MS = 1_000_000


def output_of(config: SessionLog) -> LineOutput | None:
    """Where the lines of this configuration go; None for nowhere. Raises EdgeError when the file cannot be used."""
    if config.target == OFF:
        return None
    return RotatedFile(config.file, config.max_bytes, config.files) if config.target == FILE else StandardError()


class SessionLogWriter:
    """The session log of one run."""

    def __init__(
        self,
        config: SessionLog,
        processes: Sequence[ShardProcess],
        open_output: Callable[[SessionLog], LineOutput | None] = output_of,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._processes, self._open_output, self._now = config, processes, open_output, now
        self._output: LineOutput | None = None
        """None until there is something to write."""
        self._retired: list[LineOutput] = []
        """Outputs of configurations before this one. Only who writes closes them: a thread may still be at it."""
        self._writing = threading.Lock()
        self._changing = threading.Lock()
        """Held while configuration and output are exchanged or looked at, and never while a disk is waited for."""
        self._waiting: list[SessionEnd] = []
        self._second, self._left = 0.0, 0
        self._unsaid, self._said_at = 0, -inf
        """Sessions that were left out and of which no line says so yet, and when the last such line was."""
        self._problem = ""
        self.counts = SessionLogCounts(0, 0, 0)
        for process in processes:
            process.hear = self.hear

    def hear(self, ended: Ended) -> None:
        """Take what a worker tells. Each worker keeps to the limit by itself, and all of them together do here."""
        if self._config.target == OFF:
            return
        now = self._now()
        if not 0 <= now - self._second < 1:
            self._second, self._left = now, self._config.max_per_s
        room = max(0, min(self._left, MOST_WAITING - len(self._waiting)))
        taken, others = ended.rows[:room], ended.rows[room:]
        self._left -= len(taken)
        self._unsaid += len(others) + ended.left_out
        self._count(left_out=len(others) + ended.left_out)
        try:
            self._waiting += [SessionEnd(*row) for row in taken]
        except TypeError as error:  # a worker has another idea of a session: that must not be its end
            log.error("the session log cannot take what a worker tells: %s", error)
            self._count(failed=len(taken))

    def _count(self, written: int = 0, left_out: int = 0, failed: int = 0) -> None:
        counts = self.counts
        self.counts = SessionLogCounts(counts.written + written, counts.left_out + left_out, counts.failed + failed)

    async def watch(self) -> None:
        """Write what waits, again and again."""
        while True:
            await self.write_some()
            await asyncio.sleep(INTERVAL_S)

    async def write_some(self) -> None:
        """Write all that waits."""
        if self._config.target == OFF:
            self._waiting.clear()
            if self._retired:
                await asyncio.to_thread(self._write, (), 0)
            return
        waiting, self._waiting = self._waiting, []
        unsaid = 0
        if self._unsaid and self._now() - self._said_at >= SAY_INTERVAL_S:
            unsaid, self._unsaid, self._said_at = self._unsaid, 0, self._now()
        if not waiting and not unsaid:
            return
        sessions, problem = await asyncio.to_thread(self._write, waiting, unsaid)
        if problem:  # the line that says it would have been the last one
            self._unsaid += unsaid
        self._count(written=sessions, failed=len(waiting) - sessions)
        self._say(problem)

    def _write(self, waiting: Sequence[SessionEnd], unsaid: int) -> tuple[int, str]:
        """How many sessions are written, and why not all are. It runs in a thread, one at a time."""
        if not self._writing.acquire(timeout=_PATIENCE_S):
            return 0, "a write has not come back"
        try:
            while self._retired:
                self._retired.pop().close()
            written = self._write_lines(_lines(waiting, unsaid)) if waiting or unsaid else Written(0, "")
            return min(written.lines, len(waiting)), written.problem
        finally:
            self._writing.release()

    def _write_lines(self, lines: Sequence[bytes]) -> Written:
        try:
            output = self._ready_output()
        except EdgeError as error:
            return Written(0, str(error))
        return Written(0, "") if output is None else output.write(lines)

    def _ready_output(self) -> LineOutput | None:
        """What lines go to, opened if need be. Meanwhile there may be another configuration: these lines are still of the one
        before, and no later ones."""
        with self._changing:
            config, output = self._config, self._output
        if output is not None:
            return output
        output = self._open_output(config)
        with self._changing:
            if self._config is config and self._output is None:
                self._output = output
            elif output is not None:
                self._retired.append(output)
        return output

    def _say(self, problem: str) -> None:
        """Say that lines are lost, and that none are any more: once each time."""
        if problem == self._problem:
            return
        before, self._problem = self._problem, problem
        if self._config.target == JOURNAL:  # what is said goes the same way, and whoever says it would wait there
            return
        if problem:
            log.error("the session log loses lines: %s", problem)
        elif before:
            log.info("the session log is written again; lines lost until now: %d", self.counts.failed)

    @asynccontextmanager
    async def changed(self, wanted: SessionLog) -> AsyncIterator[None]:
        """Go by another configuration before the block; an error in the block takes that back. Raises EdgeError, and changes
        nothing, when its file cannot be used."""
        before = self._config
        if wanted == before:
            yield
            return
        output = await asyncio.to_thread(self._open_output, wanted)
        await self._put(wanted, output)
        try:
            yield
        except BaseException:
            await self._put(before, None)
            raise

    async def _put(self, config: SessionLog, output: LineOutput | None) -> None:
        """With None, the output is opened when there is something to write."""
        with self._changing:
            self._config = config
            if self._output is not None:
                self._retired.append(self._output)
            self._output = output
        await workers.tell([process.change_session_log(*told_of(config)) for process in self._processes])

    async def end(self) -> None:
        """Write what is left, as the last thing of a run."""
        self._said_at = -inf
        await self.write_some()


def _lines(waiting: Sequence[SessionEnd], unsaid: int) -> list[bytes]:
    epoch_ms = (time.time_ns() - time.monotonic_ns()) // _NS_PER_MS
    lines = [session_line(end, epoch_ms) for end in waiting]
    return [*lines, left_out_line(unsaid, time.time_ns() // _NS_PER_MS)] if unsaid else lines
