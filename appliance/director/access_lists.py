"""The access lists and rate limits of a configuration, with what stands in the files that it names."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from appliance.config.loading import Config, ConfigError, ConfigProblem, Service
from appliance.config.problems import value_text
from appliance.edge import list_file
from appliance.edge.errors import EdgeError
from appliance.edge.list_file import ListFile
from appliance.policy.access_rules import AccessService, Rate
from appliance.policy.prefixes import Prefixes, range_of

MOST_PREFIXES = 1_000_000
"""In all files of a configuration together. The kernel takes some 100 bytes for each, and some ten seconds to load so many."""

MOST_PROBLEMS = 20
"""Of a file in which every line is wrong, so many are shown."""


def read_access(config: Config) -> tuple[AccessService, ...]:
    """The services that have lists or limits. Each file is read once; that may block.

    Raises ConfigError with all problems of the first file that has any.
    """
    return _Reading().services(config)


def changes(running: Iterable[AccessService], wanted: Iterable[AccessService]) -> tuple[str, ...]:
    """A line for each list that has other addresses now, which the keys of the configuration alone may not say."""
    before, after = {one.name: one for one in running}, {one.name: one for one in wanted}
    return tuple(
        f"service {name}: {key} has {_size(new)} ranges of addresses, had {_size(old)}"
        for name in dict.fromkeys((*before, *after))
        for key in ("deny", "allow")
        if (old := getattr(before.get(name), key, None)) != (new := getattr(after.get(name), key, None))
    )


def narrowed(running: Iterable[AccessService], wanted: Iterable[AccessService]) -> list[AccessService]:
    """Those that are wanted whose lists have other addresses now, so that some clients may not be admitted any more."""
    before = {one.name: (one.deny, one.allow) for one in running}
    return [one for one in wanted if before.get(one.name, (None, None)) != (one.deny, one.allow)]


def _size(prefixes: Prefixes | None) -> int:
    return 0 if prefixes is None else len(prefixes)


class _Reading:
    """One reading of a configuration and its files."""

    def __init__(self) -> None:
        self._files: dict[str, Prefixes] = {}
        self._lists: dict[tuple[tuple[IPv4Network, ...], tuple[str, ...]], Prefixes] = {}
        self._room = MOST_PREFIXES

    def services(self, config: Config) -> tuple[AccessService, ...]:
        """Those with lists or limits. Raises ConfigError."""
        wanted = (self._service(service) for service in config.services)
        return tuple(one for one in wanted if one != AccessService(one.name, one.vip, one.protocol, one.port))

    def _service(self, service: Service) -> AccessService:
        client_rate = _rate(service.client_new_per_s, service.client_new_burst)
        return AccessService(
            service.name,
            service.vip,
            service.protocol,
            service.port,
            self._list(service.deny, service.deny_files, f"deny_files of service {service.name}"),
            self._list(service.allow, service.allow_files, f"allow_files of service {service.name}"),
            service.deny_sets,
            service.allow_sets,
            client_rate,
            service.client_mask if client_rate else 32,
            _rate(service.new_per_s, service.new_burst),
        )

    def _list(self, networks: tuple[IPv4Network, ...], files: tuple[str, ...], key: str) -> Prefixes | None:
        """One list; services with the same one share it. None when the configuration names nothing for it."""
        if not networks and not files:
            return None
        if (networks, files) not in self._lists:
            ranges = [pair for file in files for pair in self._file(file, key).ranges]
            self._lists[networks, files] = Prefixes((*Prefixes.of(networks).ranges, *ranges))
        return self._lists[networks, files]

    def _file(self, path: str, key: str) -> Prefixes:
        if path not in self._files:
            try:
                file = list_file.read(path)
            except EdgeError as error:
                raise ConfigError(path, (ConfigProblem((), None, f"cannot be used ({key}): {error}"),)) from error
            lines = list(_entries(file.text))
            self._room -= len(lines)
            if self._room < 0:
                words = f"has too many prefixes ({key}): the files of a configuration may have {MOST_PREFIXES} in all"
                raise ConfigError(path, (ConfigProblem((), None, words),))
            self._files[path] = Prefixes(_ranges(path, key, file, lines))
        return self._files[path]


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """The number and the text of each line that is more than a comment."""
    for number, line in enumerate(text.split("\n"), 1):
        if entry := line.partition("#")[0].strip():
            yield number, entry


def _ranges(path: str, key: str, file: ListFile, entries: Iterable[tuple[int, str]]) -> list[tuple[int, int]]:
    """What each line means. Raises ConfigError with the number of each line that is wrong, MOST_PROBLEMS at most."""
    ranges, problems = list[tuple[int, int]](), list[ConfigProblem]()
    for number, entry in entries:
        try:
            ranges.append(range_of(entry))
        except ValueError as error:
            # Whoever asked for a reload sees this, and need not be somebody who may read the file.
            shown = value_text(entry) if file.is_public else "what stands there"
            problems.append(ConfigProblem((), entry, f"{shown} {error} ({key})", number))
            if len(problems) == MOST_PROBLEMS:
                break
    if problems:
        raise ConfigError(path, tuple(problems))
    return ranges


def _rate(per_s: int, burst: int) -> Rate | None:
    return Rate(per_s, burst or per_s) if per_s else None
