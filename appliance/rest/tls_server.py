"""A listening socket on which TLS is spoken.

An event loop tells nobody of a connection before its handshake is over, nor of one whose handshake fails. So connections are
accepted here: each is counted from its first moment on, and gets the certificate that is in force then.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from appliance.rest.connections import Connections

HANDSHAKE_S = 10.0
"""How long a handshake may take. The connection counts as one that is served meanwhile."""

_FAREWELL_S = 5.0
"""How long the end of TLS may take."""

_PAUSE_S = 1.0
"""How long nobody is accepted after an error of accept(2), such as too many open files."""


class TlsServer:
    """The socket, and the handshakes that go on. It has what aiohttp needs of a server."""

    def __init__(self, sock: socket.socket, connections: Connections, context: Callable[[], ssl.SSLContext]) -> None:
        """`sock` listens; `context` gives what a new connection gets. It accepts from now on."""
        sock.setblocking(False)
        self.sockets = [sock]
        self._connections = connections
        self._context = context
        self._handshakes: set[asyncio.Future[None]] = set()
        self._accepting = asyncio.ensure_future(self._accept(sock))

    def close(self) -> None:
        """Accept no more, and give up the handshakes that go on."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()
        self.sockets[0].close()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(sock)
            except ConnectionError:
                continue  # it has gone before it was accepted
            except OSError as error:
                self._connections.lines.say("connection not accepted", str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self._connections.has_room():
                client.close()  # a client of TLS would not understand why
                continue
            handshake = asyncio.ensure_future(self._shake_hands(client))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, client: socket.socket) -> None:
        connection = self._connections()
        connection.take_place()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                client,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=_FAREWELL_S,
            )
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are among them
            self._connections.lines.say("TLS handshake failed", str(getattr(error, "reason", None) or error))
            connection.leave_place()
        except asyncio.CancelledError:
            connection.leave_place()
            with contextlib.suppress(OSError):
                client.close()
            raise
