"""Both ends of connections that never rest: `stream.py server ADDRESS PORT REPORT`, `stream.py client VIP PORT REPORT COUNT`.

The client sends numbered lines on COUNT connections and compares what comes back. Each end writes its report, a JSON object, many
times a second: `lines` is the least that any connection has seen come back, `ends` says how connections ended, `wrong` what came
back and was not what had been sent.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

LINE_BYTES = 200
PAUSE_S = 0.05


class Report:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.open = 0
        self.lines: dict[int, int] = {}
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def write_for_ever(self) -> None:
        while True:
            lines = min(self.lines.values(), default=0)
            text = json.dumps({"open": self.open, "lines": lines, "ends": self.ends, "wrong": self.wrong[:3]})
            new = self._file.with_suffix(".new")
            new.write_text(text)
            os.replace(new, self._file)
            await asyncio.sleep(4 * PAUSE_S)

    def ended(self, error: Exception) -> None:
        self.ends[type(error).__name__] += 1
        self.open -= 1


async def serve(address: str, port: int, report: Report) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        report.open += 1
        try:
            while True:
                writer.write(await reader.readexactly(LINE_BYTES))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError) as error:
            report.ended(error)
        writer.close()

    async with await asyncio.start_server(echo, address, port):
        await report.write_for_ever()


async def ask(vip: str, port: int, count: int, report: Report) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(report.write_for_ever())
        for number in range(count):
            group.create_task(talk(vip, port, number, report))


async def talk(vip: str, port: int, number: int, report: Report) -> None:
    reader, writer = await asyncio.open_connection(vip, port)
    report.open += 1
    report.lines[number] = 0
    try:
        while True:
            line = f"{number} {report.lines[number]} ".encode().ljust(LINE_BYTES, b".")
            writer.write(line)
            back = await reader.readexactly(LINE_BYTES)
            if back != line:
                report.wrong.append(f"{back!r} and not {line!r}")
            report.lines[number] += 1
            await asyncio.sleep(PAUSE_S)
    except (OSError, asyncio.IncompleteReadError) as error:
        report.ended(error)
    writer.close()


if __name__ == "__main__":
    role, address, port, file, *count = sys.argv[1:]
    report = Report(Path(file))
    asyncio.run(serve(address, int(port), report) if role == "server" else ask(address, int(port), int(count[0]), report))
