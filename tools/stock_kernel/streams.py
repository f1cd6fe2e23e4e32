"""The output streams of the guest, in which lines with a token mark the begin, the end and the exit code."""

import re


class FramedStream:
    """A byte stream between a line with the token and a line with the token and the exit code.

    The first line says that the job begins. The last line is needed because a port has no end of file, and a guest that powers
    off loses bytes that still wait in its ports: the line comes after everything that the command wrote."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._header = self._token + b"\n"
        self._trailer = re.compile(re.escape(self._token) + rb" (\d+)\n")
        self._held = b""
        self.started = False
        self.exit_code: int | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return those that certainly belong to the command's output."""
        if self.exit_code is not None:
            return b""  # written by a process that outlived the command
        self._held += chunk
        if not self.started and not self._take_header():
            return b""
        match = self._trailer.search(self._held)
        if match is not None:
            self.exit_code = int(match.group(1))
            return self._release(match.start())
        return self._release(self._possible_trailer())

    def _take_header(self) -> bool:
        self.started = self._held.startswith(self._header)
        if self.started:
            self._release(len(self._header))
        return self.started

    def rest(self) -> bytes:
        """The bytes that were held back as a possible trailer, for a stream that ends without one."""
        return self._release(len(self._held))

    def _possible_trailer(self) -> int:
        """The place where a trailer may begin whose rest has not come yet; the length of all bytes when there is no such
        place."""
        begins = self._held.find(self._token)
        if begins >= 0:
            return begins
        longest = min(len(self._held), len(self._token) - 1)
        lengths = (size for size in range(longest, 0, -1) if self._held.endswith(self._token[:size]))
        return len(self._held) - next(lengths, 0)

    def _release(self, size_bytes: int) -> bytes:
        released, self._held = self._held[:size_bytes], self._held[size_bytes:]
        return released
