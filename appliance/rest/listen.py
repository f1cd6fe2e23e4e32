"""Where the API listens: every entry of the configuration becomes one listening socket."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence

from aiohttp import web

_UNIX = "unix:"

_SOCKET_MODE = 0o660
"""The right to write to the socket is the right to change tunables: only its owner and its group have it."""

_SHUTDOWN_TIMEOUT_S = 1.0
"""How long a stop waits for answers that are being sent. A client that reads slowly must not delay the stop any longer."""


class ListenError(Exception):
    """The API cannot listen on an entry; the message names the entry and the reason."""


async def serve(app: web.Application, listen: Sequence[str]) -> web.AppRunner:
    """Serve `app` on every entry: ``ADDRESS:PORT``, ``[IPV6]:PORT`` or ``unix:/absolute/path``.

    The directory of a Unix socket is created when it is missing. A socket file that a dead process left is replaced, and
    the runner's `cleanup` removes the file. Raises ListenError when an entry fails; then no entry is served.
    """
    bound: list[str] = []

    async def remove_sockets(_: web.Application) -> None:
        for path in bound:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    app.on_cleanup.append(remove_sockets)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        for entry in listen:
            await _start_site(runner, entry, bound)
    except BaseException:
        await runner.cleanup()
        raise
    return runner


async def _start_site(runner: web.AppRunner, entry: str, bound: list[str]) -> None:
    """Listen on one entry. The path of a Unix socket is added to `bound` as soon as this process has created the file."""
    try:
        if entry.startswith(_UNIX):
            path = entry.removeprefix(_UNIX)
            sock = _bind_unix(path)
            bound.append(path)
            await web.SockSite(runner, sock).start()
        else:
            await web.TCPSite(runner, *_address(entry)).start()
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
