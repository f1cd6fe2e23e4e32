"""The parameters of the host's kernel that a run changes, and how they get their old values back.

The gateway needs some of them; the configuration and the API ask for others. Before the first change of one, its value is written
down; a stop for good, or `appliance cleanup` after a crash, puts it back. What somebody else changes meanwhile is put right only
where the gateway needs it.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from appliance.director.steps import do_all
from appliance.edge import host_parameters, sysctl
from appliance.edge.errors import EdgeError
from appliance.model.host_parameter import (
    ONLY,
    HostParameter,
    HostParameterError,
    HostReading,
    Values,
    check_places,
    check_values,
    sysctl_name,
    text_of,
)
from appliance.model.host_parameters import HOST_PARAMETERS

log = logging.getLogger("appliance.host")

PutBack = Callable[[], None]
"""Takes a change back. Raises HostParameterError."""

_Writes = Sequence[tuple[str, str]]
"""Paths below /proc/sys/net, and what is written there."""


class Sysctls:
    """The changes of one run. All methods block, and may be called from several threads at once."""

    def __init__(self, save: Callable[[], None]) -> None:
        """`save` writes `before` to a file, before a parameter is changed for the first time. It may raise EdgeError."""
        self._save = save
        self._before: dict[str, str] = {}
        self._changing = threading.Lock()
        """Held for each change: one that has begun before the end must not be made after it."""
        self._is_over = False
        self.interfaces: Sequence[str] = ()
        """Those of the gateway."""

    @property
    def before(self) -> list[tuple[str, str]]:
        """Path below /proc/sys/net and old value of each that was changed, in the order of their first changes."""
        return list(self._before.items())

    def adopt(self, before: Iterable[tuple[str, str]]) -> None:
        """Take over what an earlier run has changed."""
        self._before = dict(before)

    def set_needed(self, interfaces: Sequence[str]) -> None:
        """Set what the gateway needs on each of these interfaces, also after one that failed. Raises EdgeError."""
        do_all(partial(self._set_needed_of, interface) for interface in interfaces)

    def _set_needed_of(self, interface: str) -> None:
        with self._changing:
            for change in () if self._is_over else sysctl.needed_changes([interface]):
                self._write([(change.path, change.after)])

    def start(self, wanted: Mapping[str, Values], interfaces: Sequence[str]) -> None:
        """Set what the gateway needs, then what the configuration asks for; and put back what an earlier run has set besides.

        What the configuration asks for and the kernel refuses is logged, and the start goes on: traffic matters more. Raises
        EdgeError when the kernel refuses what the gateway needs.
        """
        self.interfaces = interfaces
        self.set_needed(interfaces)
        kept = {path for name in wanted for path in self._paths(HOST_PARAMETERS[name])}
        for path, value in self.before:
            if path not in kept and not sysctl.is_needed(path):
                _try(partial(self._write_all, [(path, value)]))
        for name, values in wanted.items():
            _try(partial(self.write, HOST_PARAMETERS[name], ONLY, values))

    def read(self, parameter: HostParameter) -> HostReading:
        """One parameter at this moment. Raises EdgeError when the kernel will not say."""
        return host_parameters.read(parameter, self.interfaces)

    def write(self, parameter: HostParameter, place: str, values: Values) -> PutBack:
        """Write a parameter at one place. With ONLY, one for each interface is written at those of the gateway, and not at `all`.

        Raises HostParameterError, and changes nothing, when the value is not allowed, when the kernel refuses it, or when it does
        not have the parameter here.
        """
        check_values(parameter, values)
        with self._changing, _as_refusal(parameter):
            reading = self.read(parameter)
            if reading.state != "writable":
                raise HostParameterError(f"{parameter.name}: cannot be written: {reading.reason}")
            wide = parameter.per_interface and place == ONLY
            places = [one for one in self.interfaces if one in reading.values] if wide else [place]
            check_places(parameter, {**reading.values, **dict.fromkeys(places, values)})
            return self._write([(parameter.path_at(one), text_of(values)) for one in places])

    def put_back(self, parameter: HostParameter) -> PutBack:
        """Give a parameter the value that it had before this run changed it. Raises HostParameterError."""
        with self._changing, _as_refusal(parameter):
            return self._write([(path, self._before[path]) for path in self._paths(parameter) if path in self._before])

    def change(self, wanted: Mapping[str, Values | None]) -> PutBack:
        """Write several parameters, or none: with None, one gets its old value back. Raises HostParameterError."""
        done: list[PutBack] = []
        try:
            for name, values in wanted.items():
                parameter = HOST_PARAMETERS[name]
                done.append(self.put_back(parameter) if values is None else self.write(parameter, ONLY, values))
        except HostParameterError:
            _take_back(done)
            raise
        return partial(_take_back, done)

    def undo(self) -> None:
        """Put all old values back, the latest change first, and change nothing after that. What fails is logged."""
        with self._changing:
            self._is_over = True
            for path, value in reversed(self._before.items()):
                _try(partial(sysctl.write, path, value))
            self._before = {}

    def leave(self) -> None:
        """Change nothing any more: the next run goes on with what there is."""
        with self._changing:
            self._is_over = True

    def _paths(self, parameter: HostParameter) -> list[str]:
        return [parameter.path_at(place) for place in (self.interfaces if parameter.per_interface else (ONLY,))]

    def _write(self, writes: _Writes) -> PutBack:
        """Write all of it or, when one is refused, nothing. The lock is held by the caller. Raises EdgeError."""
        changes = [(path, now, value) for path, value in writes if (now := " ".join(sysctl.read(path).split())) != value]
        if changes and self._is_over:
            raise EdgeError("the appliance is ending")
        if new := {path: now for path, now, _ in changes if path not in self._before}:
            self._before |= new
            self._save()
        done: list[tuple[str, str]] = []
        try:
            for path, now, value in changes:
                log.info("%s: %s -> %s", sysctl_name(path), now, value)
                sysctl.write(path, value)
                done.append((path, now))
        except EdgeError:
            for path, now in done:
                _try(partial(sysctl.write, path, now))
            raise
        return partial(self._write_all, done)

    def _write_all(self, writes: _Writes) -> None:
        with self._changing:
            self._write(writes)


@contextmanager
def _as_refusal(parameter: HostParameter) -> Iterator[None]:
    """What the kernel refuses in the block is raised as HostParameterError."""
    try:
        yield
    except EdgeError as error:
        raise HostParameterError(f"{parameter.name}: {error}") from error


def _take_back(done: Sequence[PutBack]) -> None:
    for put_back in reversed(done):
        _try(put_back)


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except (EdgeError, HostParameterError) as error:
        log.error("kernel parameter: %s", error)
