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
"""Whoever may write to the socket may change tunables: its owner and group, nobody else."""

_SHUTDOWN_TIMEOUT_S = 1.0
"""How long a stop waits for answers under way; somebody who reads the sessions slowly must not hold it longer."""


class ListenError(Exception):
    """An entry that cannot be listened on; the message names the entry and the reason."""


async def serve(app: web.Application, listen: Sequence[str]) -> web.AppRunner:
    """Serve `app` on every entry: ``ADDRESS:PORT``, ``[IPV6]:PORT`` or ``unix:/absolute/path``.

    A Unix socket gets its directory made when missing, replaces one that a dead process left, and goes with the
    runner's `cleanup`. Raises ListenError when an entry fails; then none of them stays.
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
    """Listen on one entry; `bound` gets the path of a Unix socket as soon as it exists and is ours."""
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
    """Host and port. No host is an error, because the event loop would take it for every address there is."""
    host, _, port_text = entry.rpartition(":")
    host, port = host.removeprefix("[").removesuffix("]"), int(port_text)
    if not host or not 0 <= port <= 65535:
        raise ValueError("neither ADDRESS:PORT, [IPV6]:PORT nor unix:/absolute/path")
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
    """Remove a socket that nobody listens on. Raises OSError for one in use, and for what is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A listener whose backlog is full would let a blocking connect() wait; it is alive all the same.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")
