"""One byte there and back through the service, again and again on SESSIONS sessions: `round_trips.py SESSIONS SECONDS`.

Needs an echo server behind the service. Prints as JSON how many round trips there were, how many sessions ended or gave a wrong
answer, and the 50th and the 99th percentile of the times in milliseconds.
"""

import asyncio
import json
import os
import sys
import time

import uvloop

_PAUSE_S = 0.005


async def session(until: float, times: list[float]) -> None:
    """One session. Raises OSError or EOFError when it ends."""
    reader, writer = await asyncio.open_connection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    while (begun := time.monotonic()) < until:
        writer.write(b"x")
        if await reader.readexactly(1) != b"x":
            raise EOFError
        times.append(time.monotonic() - begun)
        await asyncio.sleep(_PAUSE_S)
    writer.close()


async def main(sessions: int, seconds: float) -> None:
    """Run all sessions."""
    times: list[float] = []
    until = time.monotonic() + seconds
    ends = await asyncio.gather(*(session(until, times) for _ in range(sessions)), return_exceptions=True)
    times.sort()
    p50, p99 = (round(times[int(len(times) * share)] * 1000, 2) for share in (0.5, 0.99))
    print(json.dumps({"round_trips": len(times), "lost": sum(end is not None for end in ends), "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
