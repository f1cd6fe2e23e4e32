"""The connections of one listener: how many there may be, what those above it are told, and how long a reader may stand still.

aiohttp closes a connection that does not complete a request in time. What is here stands in front of it, because aiohttp knows no
limit of connections and no limit for a client that does not read.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from appliance.ipc.rows import Caller
from appliance.rest.rare_log import RareLog

LINGERING_MAX = 32
"""Refused connections of one listener that may stay open until their clients have read why. Those above it are closed at once."""

LINGER_S = 1.0

_WAITING_BYTES = 64 << 10
"""How much of an answer a transport holds for a client that does not read before the answer has to wait."""

RETRY_AFTER_S = 5

_TEXT = "too many connections; try again later\n"
BUSY = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    f"Retry-After: {RETRY_AFTER_S}\r\nConnection: close\r\nContent-Length: {len(_TEXT)}\r\n\r\n{_TEXT}"
).encode()


class Connections:
    """All connections of a listener. An instance is the protocol factory that the event loop wants."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        most: int,
        stall_s: float,
        lines: RareLog,
        *,
        is_remote: bool = False,
    ) -> None:
        """`serve` makes the protocol that speaks HTTP. At most `most` connections have one at a time. A client that has taken
        nothing for `stall_s` seconds although there is something for it is disconnected. `is_remote` says whether other hosts may
        reach the listener."""
        self.serve = serve
        self.most = most
        self.stall_s = stall_s
        self.lines = lines
        self.is_remote = is_remote
        self.open = 0
        self.lingering = 0

    def __call__(self) -> "Connection":
        return Connection(self)

    def has_room(self) -> bool:
        """Whether one more connection may be served; when not, that is logged."""
        if self.open < self.most:
            return True
        self.lines.say("connection refused", f"{self.most} are open on this listener")
        return False


class Connection(asyncio.Protocol):
    """One connection, in front of the protocol that speaks HTTP. One that is refused has no such protocol. With TLS, its place is
    taken by `rest.tls_server`, before the handshake."""

    def __init__(self, listener: Connections) -> None:
        self._listener = listener
        self._inner: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._counts = False
        self._lingers = False
        self.caller: Caller | None = None
        """Its user; None until somebody has asked."""

    @property
    def is_remote(self) -> bool:
        """Whether other hosts may reach its listener."""
        return self._listener.is_remote

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection if it has its place, or there is one for it; else refuse it."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WAITING_BYTES)  # with TLS it would be eight times as much
        if not self._counts:
            if not self._listener.has_room():
                self._refuse()
                return
            self.take_place()
        self._inner = self._listener.serve()
        self._inner.connection_made(transport)

    def take_place(self) -> None:
        """Count as one that is served."""
        self._listener.open += 1
        self._counts = True

    def leave_place(self) -> None:
        """Count no more; nothing is done the second time."""
        self._listener.open -= self._counts
        self._counts = False

    def _refuse(self) -> None:
        """Say why, and close when the client has done so: a close with its request unread could take the answer away."""
        listener = self._listener
        self._transport.write(BUSY)
        if listener.lingering >= LINGERING_MAX:
            self._transport.close()
            return
        listener.lingering += 1
        self._lingers = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sent."""
        if self._inner:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._inner.eof_received() if self._inner else None

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to: it has `stall_s` seconds to make room."""
        if self._inner:
            self._inner.pause_writing()
            self._timer = asyncio.get_running_loop().call_later(self._listener.stall_s, self._end_stalled)

    def resume_writing(self) -> None:
        """There is room again."""
        self._stop_timer()
        if self._inner:
            self._inner.resume_writing()

    def _end_stalled(self) -> None:
        self._listener.lines.say("connection ended", f"its client read too little in {self._listener.stall_s:.0f} s")
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another connection."""
        self._stop_timer()
        self._listener.lingering -= self._lingers
        self.leave_place()
        if self._inner:
            self._inner.connection_lost(exc)
            self._inner = None

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
