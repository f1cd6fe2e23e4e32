"""Where the API listens: every entry of the configuration becomes one listening socket, with limits of its own."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, cast

from aiohttp import web

from appliance.rest.connections import LINGERING_MAX, Connections
from appliance.rest.rare_log import RareLog, ServerLog
from appliance.rest.tls_server import TlsServer

_UNIX, _TLS = "unix:", "tls:"

_SOCKET_MODE = 0o660
"""The right to write to the socket is the right to change tunables: only its owner and its group have it."""

_SHUTDOWN_TIMEOUT_S = 1.0
"""How long a stop waits for answers that are being sent. A client that reads slowly must not delay the stop any longer."""

CONNECTIONS_MAX = 128
"""Connections of one listener that are served at a time. Those above it are answered with 503 and closed."""

RESERVED_DESCRIPTORS = 256
"""File descriptors that the API leaves to all other work of the process: workers, nftables, netlink, files of /proc."""

REQUEST_S = 10.0
"""How long a client may take for the head of a request: counted from the connection, or from the end of the answer before."""

_LINGER_S = 2.0
"""How long the rest of a body is awaited that nobody wants."""

STALL_S = 30.0
"""How long a TCP client may leave an answer unread before it is disconnected. It has to take some 48 KiB in this time."""

UNIX_STALL_S = 3600.0
"""The same on a Unix socket, where only root and the service's group connect: a person may read a list with a pager."""


class ListenError(Exception):
    """The API cannot listen on an entry; the message names the entry and the reason."""


async def serve(app: web.Application, listen: Sequence[str], tls: Callable[[], ssl.SSLContext] | None = None) -> web.AppRunner:
    """Serve `app` on every entry: ``ADDRESS:PORT``, ``[IPV6]:PORT``, one of these behind ``tls:``, or ``unix:/absolute/path``.

    `tls` gives the context for each new connection of entries with ``tls:``.

    The directory of a Unix socket is created when it is missing. A socket file that a dead process left is replaced, and
    the runner's `cleanup` removes the file. Raises ListenError when an entry fails, and when the process may not have enough
    file descriptors; then no entry is served.
    """
    bound: list[str] = []
    most, lines = connections_per_listener(len(listen)), RareLog()

    async def remove_sockets(_: web.Application) -> None:
        for path in bound:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    app.on_cleanup.append(remove_sockets)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=ServerLog(lines),
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        keepalive_timeout=REQUEST_S,
        lingering_time=_LINGER_S,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        for entry in listen:
            connections = Connections(
                runner.server,
                most,
                UNIX_STALL_S if entry.startswith(_UNIX) else STALL_S,
                lines,
                is_remote=_is_remote(entry),
            )
            await _start_site(runner, entry, bound, connections, tls)
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def connections_per_listener(listeners: int) -> int:
    """How many connections each listener may have. Raises ListenError when there are not enough descriptors for any."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for_api = CONNECTIONS_MAX * listeners * 2 if descriptors == resource.RLIM_INFINITY else descriptors - RESERVED_DESCRIPTORS
    most = min(CONNECTIONS_MAX, for_api // listeners - LINGERING_MAX)
    if most < 1:
        needed = RESERVED_DESCRIPTORS + listeners * (LINGERING_MAX + 1)
        raise ListenError(
            f"cannot listen on {listeners} addresses: that needs a limit of {needed} open files, and it is {descriptors}"
        )
    return most


class _Site(web.BaseSite):
    """A listening socket whose connections are counted. `where` are the arguments of `create_server` that say where it is; with
    `tls`, it is a socket that listens."""

    def __init__(
        self, runner: web.AppRunner, connections: Connections, tls: Callable[[], ssl.SSLContext] | None = None, **where: Any
    ) -> None:
        super().__init__(runner)
        self._connections = connections
        self._tls = tls
        self._where = where

    @property
    def name(self) -> str:
        """For aiohttp, which shows it nowhere here."""
        return f"{self._where}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        if self._tls:
            self._server = cast("asyncio.Server", TlsServer(self._where["sock"], self._connections, self._tls))
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connections, backlog=self._backlog, **self._where)


async def _start_site(
    runner: web.AppRunner,
    entry: str,
    bound: list[str],
    connections: Connections,
    tls: Callable[[], ssl.SSLContext] | None,
) -> None:
    """Listen on one entry. The path of a Unix socket is added to `bound` as soon as this process has created the file."""
    try:
        if entry.startswith(_UNIX):
            path = entry.removeprefix(_UNIX)
            sock = _bind_unix(path)
            bound.append(path)
            await _Site(runner, connections, sock=sock).start()
        else:
            host, port = _address(entry.removeprefix(_TLS))
            if entry.startswith(_TLS):
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                await _Site(runner, connections, tls, sock=socket.create_server((host, port), family=family)).start()
            else:
                await _Site(runner, connections, host=host, port=port, reuse_address=True).start()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ListenError(f"cannot listen on {entry}: {reason}") from error


def _address(entry: str) -> tuple[str, int]:
    """Host and port. Raises ValueError also for an empty host, which the event loop would take for every address."""
    host, _, port_text = entry.rpartition(":")
    host, port = host.removeprefix("[").removesuffix("]"), int(port_text)
    if not host or not 0 <= port <= 65535:
        raise ValueError("it is not ADDRESS:PORT, [IPV6]:PORT or unix:/absolute/path")
    return host, port


def _is_remote(entry: str) -> bool:
    """Whether other hosts may reach an entry."""
    if entry.startswith(_UNIX):
        return False
    try:
        return not ip_address(entry.removeprefix(_TLS).rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return True


def _bind_unix(path: str) -> socket.socket:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        # Nobody can connect before listen(), so the mode is in force before it matters.
        os.chmod(path, _SOCKET_MODE)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file on which no process listens. Raises OSError for a socket in use and for a file of another kind."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A blocking connect() would wait for a listener whose backlog is full. That listener is alive.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")
