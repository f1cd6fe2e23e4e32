"""The configuration in force, and all ways to change it while traffic flows: the file, the API, and what takes a change back.

Each way makes the whole next configuration of the one in force and has it put in force, all of it or nothing. One change is made
at a time: whoever comes second sees what the first has made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from appliance.config.changes import ReloadRefusedError
from appliance.config.document import document_of
from appliance.config.edits import edited, look_up, new_commands, pools_of, value_of
from appliance.config.file_changes import changed_in_file, with_same_services
from appliance.config.loading import Config, ConfigError
from appliance.config.planned import differences
from appliance.config.saving import saved
from appliance.director.config_file import ConfigSource
from appliance.director.confirmation import Confirmation, Occasion
from appliance.director.reload_log import say_refused
from appliance.edge.errors import EdgeError
from appliance.ipc.rows import Applied, ChangePlan, ConfigState, Saved
from appliance.model.edit import (
    BAD_CONFIG,
    COMMAND_REFUSED,
    FILE_CHANGED,
    NOT_WHILE_RUNNING,
    NOT_WRITABLE,
    NOTHING_TO_CONFIRM,
    UNCONFIRMED,
    ChangeRefusedError,
    Edit,
    Subject,
    check_version,
)

log = logging.getLogger("appliance.director")

POSTED = "change"
"""The name of a text that came through the API, in messages about it."""

_MOST_PROBLEMS = 50
"""How many problems of a configuration are told."""


class Configuration:
    """That of one run. The API knows it as `rest.gateway.Configuration`."""

    def __init__(
        self,
        file: ConfigSource,
        running: Callable[[], Config],
        tunable: Callable[[str], int],
        put: Callable[[Config, Occasion], Awaitable[list[str]]],
        plan: Callable[[Config, Config], Awaitable[ChangePlan]],
        lock: asyncio.Lock,
    ) -> None:
        """`put` puts a configuration in force, all of it or nothing, while `lock` is held; it takes the occasion, returns
        what has changed, a line each, and raises ReloadRefusedError. `plan` says what the second of two configurations would
        change of the first, and raises ConfigError when it names a list that cannot be used."""
        self._file = file
        self._running = running
        self._tunable = tunable
        self._put = put
        self._plan = plan
        self._lock = lock
        self._in_file = running()
        self._offered: Config | None = None
        self.confirmation = Confirmation(lock, lambda before: put(before, Occasion.TAKEN_BACK))

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    async def reload(self) -> None:
        """Read the file again, and put in force what has changed in it. A refusal is logged, and changes nothing."""
        try:
            after = await asyncio.to_thread(self._file.read)  # before the lock: a slow disk must not hold up writes of tunables
            async with self._lock:
                self._check_confirmed()
                self._note(after)
                wanted = await asyncio.to_thread(changed_in_file, self._running(), self._in_file, after)
                await self._put(wanted, Occasion.FILE)
                self._in_file = await asyncio.to_thread(with_same_services, self._running(), after)
                self._say_unsaved()
        except (ConfigError, ReloadRefusedError, ChangeRefusedError) as error:
            say_refused(error)

    async def plan(self, text: str | None) -> ChangePlan:
        """What a text would change; without one, the file. Raises ChangeRefusedError for a text that is no configuration, and for
        one that names a list which cannot be used."""
        wanted = await self._read(text)
        try:
            return await self._plan(self._running(), wanted)
        except ConfigError as error:
            raise _refused(error) from error

    async def apply(self, text: str | None, confirm_within_s: int, versions: Sequence[str]) -> Applied:
        """Put a text in force; without one, the file. With a time, it is taken back then, unless it is confirmed.

        `versions` are those of the whole configuration that the client knows. Raises ChangeRefusedError, and changes nothing.
        """
        wanted = await self._read(text)
        async with self._lock:
            self._check_confirmed()
            check_version(self._document() if versions else None, versions)
            before = self._with_tunables(wanted)
            changes = await self._put_or_refuse(wanted, Occasion.ON_TRIAL if confirm_within_s else Occasion.CHANGED)
            if text is None:
                self._in_file = wanted
            if confirm_within_s and changes:
                self.confirmation.expect(before, confirm_within_s)
                log.info("unless it is confirmed, the change is taken back in %d s", confirm_within_s)
        return Applied(changes, confirm_within_s if changes else 0)

    async def change(self, edit: Edit, versions: Sequence[str]) -> Applied:
        """Change one service, real server or pool. `versions` are those of it that the client knows.

        Raises ChangeRefusedError, and changes nothing.
        """
        async with self._lock:
            self._check_confirmed()
            check_version(self.look_up(edit.subject), versions)
            try:
                wanted = await asyncio.to_thread(edited, self._running(), edit)
            except ConfigError as error:
                raise _refused(error) from error
            self._check_commands(wanted)
            return Applied(await self._put_or_refuse(wanted, Occasion.CHANGED), 0)

    async def save(self, *, write: bool) -> Saved:
        """The file with the services, pools and tunables that are in force, and with its comments; with `write` it is written.

        Raises ChangeRefusedError when the file says something else than when it was read last, or cannot be written.
        """
        async with self._lock:
            self._check_confirmed()
            try:
                offer = await asyncio.to_thread(self._saved)
                if write and offer.changes:
                    await asyncio.to_thread(self._file.replace, offer.before, offer.after)
                    log.info("%d changes are saved in %s", len(offer.changes), self.path)
                    self._note(self._offered)
            except ConfigError as error:
                raise _refused(error) from error
            except (EdgeError, ValueError) as error:
                raise ChangeRefusedError(NOT_WRITABLE, str(error)) from error
            return offer._replace(is_written=write and bool(offer.changes))

    def _saved(self) -> Saved:
        text, running = self._file.read_text(), self._effective()
        in_file = self._file.parse(text, str(self.path))
        self._note(in_file)
        if in_file != self._in_file:
            raise ChangeRefusedError(FILE_CHANGED, f"{self.path} has been changed since it was read: reload first, or apply it")
        after = saved(text, in_file, running)
        self._offered = self._file.parse(after, str(self.path))
        if differences(self._offered, running):
            raise ChangeRefusedError(NOT_WRITABLE, f"{self.path} is written in a way that cannot be changed")
        return Saved(str(self.path.absolute()), differences(in_file, running), text, after, False)

    def _note(self, in_file: Config | None) -> None:
        """The file says what was offered for it: somebody has saved it."""
        if in_file is not None and in_file == self._offered:
            self._in_file = in_file

    async def confirm(self) -> None:
        """Let the change stay that waits. Raises ChangeRefusedError when none does."""
        async with self._lock:
            if not self.confirmation.confirm():
                raise ChangeRefusedError(NOTHING_TO_CONFIRM, "no change waits for its confirmation")
            log.info("the last change is confirmed")

    def look_up(self, subject: Subject) -> dict[str, Any] | None:
        """The value of a service, a real server or a pool; None when there is no such one."""
        return look_up(self._running(), subject)

    def services(self) -> list[dict[str, Any]]:
        """The values of all services."""
        return [value_of(service) for service in self._running().services]

    def pools(self) -> dict[str, dict[str, Any]]:
        """The values of all pools, by name."""
        return {name: {"addresses": addresses} for name, addresses in pools_of(self._running()).items()}

    async def state(self) -> ConfigState:
        """What is in force, beside the file."""
        problem, lines = "", []
        try:
            in_file = await asyncio.to_thread(self._file.read)
            lines = await asyncio.to_thread(differences, in_file, self._effective())
        except ConfigError as error:
            problem = str(error)
        return ConfigState(str(self.path), lines, problem, self.confirmation.left_s, await asyncio.to_thread(self._document))

    async def end(self) -> None:
        """Say what ends with the run."""
        await self.confirmation.end()
        self._say_unsaved()

    def _say_unsaved(self) -> None:
        if lines := differences(self._in_file, self._running()):
            log.warning("%d changes are not in %s: only `appliance save` makes them outlive this run", len(lines), self.path)

    async def _read(self, text: str | None) -> Config:
        try:
            wanted = await asyncio.to_thread(self._parsed, text)
        except ConfigError as error:
            raise _refused(error) from error
        if text is not None:
            self._check_commands(wanted)
        return wanted

    def _parsed(self, text: str | None) -> Config:
        wanted = self._file.read() if text is None else self._file.parse(text, POSTED)
        return with_same_services(self._running(), wanted)

    async def _put_or_refuse(self, wanted: Config, occasion: Occasion) -> list[str]:
        try:
            return await self._put(wanted, occasion)
        except ReloadRefusedError as error:
            lines = str(error).splitlines()
            more = f"; and {len(lines) - 1} more" if len(lines) > 1 else ""
            raise ChangeRefusedError(
                NOT_WHILE_RUNNING,
                f"{lines[0]}{more}",
                [{"message": line} for line in lines[:_MOST_PROBLEMS]],
            ) from error

    def _check_confirmed(self) -> None:
        if (left_s := self.confirmation.left_s) is not None:
            raise ChangeRefusedError(
                UNCONFIRMED,
                f"the last change is taken back in {left_s:.0f} s unless it is confirmed; until then nothing else changes",
            )

    def _check_commands(self, wanted: Config) -> None:
        """Only who can write the file chooses which programs run on this host, and which file is written to; a token is not
        enough."""
        for command in new_commands(wanted, self._running(), self._in_file):
            raise ChangeRefusedError(
                COMMAND_REFUSED,
                f"health_check.command: {command[0][:80]!r} is a command that {self.path} does not have",
            )
        file = wanted.session_log.file
        if file not in (self._in_file.session_log.file, self._running().session_log.file):
            raise ChangeRefusedError(COMMAND_REFUSED, f"session_log.file: {file[:80]!r} is a path that {self.path} does not have")

    def _document(self) -> dict[str, Any]:
        return document_of(self._effective())

    def _effective(self) -> Config:
        """What is in force, with the tunables that an operator has written."""
        running = self._running()
        return running.model_copy(update={"sysctl": {name: self._tunable(name) for name in running.sysctl}})

    def _with_tunables(self, wanted: Config) -> Config:
        """What is in force, with the values in force of those tunables that `wanted` changes."""
        running = self._running()
        changed = {name: self._tunable(name) for name, value in wanted.sysctl.items() if value != running.sysctl[name]}
        return running.model_copy(update={"sysctl": running.sysctl | changed})


def _refused(error: ConfigError) -> ChangeRefusedError:
    reasons = [
        {"key": problem.key, "line": problem.line, "message": problem.message} for problem in error.errors[:_MOST_PROBLEMS]
    ]
    first, *others = str(error).splitlines()
    more = f"; and {len(others)} more" if others else ""
    return ChangeRefusedError(BAD_CONFIG, f"{first}{more}", reasons)
