"""rest/listen.py: TCP and Unix sockets, what a start leaves behind and what it must not remove."""

import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance.rest.listen import ListenError, serve

Serve = Callable[[list[str]], Awaitable[web.AppRunner]]


@pytest.fixture
async def start() -> AsyncIterator[Serve]:
    runners = []

    async def start(listen: list[str]) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/", _answer)
        runner = await serve(app, listen)
        runners.append(runner)
        return runner

    yield start
    for runner in runners:
        await runner.cleanup()


async def _answer(_: web.Request) -> web.Response:
    return web.Response(text="here")


async def answer_of(url: str, path: Path | None = None) -> str:
    connector = aiohttp.UnixConnector(str(path)) if path else None
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return await response.text()


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def left_by_a_dead_process(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


async def test_every_entry_is_served(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "made" / "api.sock"
    runner = await start(["127.0.0.1:0", f"unix:{path}"])
    port = runner.addresses[0][1]
    assert await answer_of(f"http://127.0.0.1:{port}/") == "here"
    assert await answer_of("http://unix/", path) == "here"


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this host has no IPv6 loopback address")
async def test_ipv6_entry(start: Serve) -> None:
    runner = await start(["[::1]:0"])
    assert await answer_of(f"http://[::1]:{runner.addresses[0][1]}/") == "here"


async def test_socket_is_for_owner_and_group_and_goes_with_the_runner(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    runner = await start([f"unix:{path}"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    await runner.cleanup()
    assert not path.exists()


async def test_socket_of_a_dead_process_is_replaced(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    left_by_a_dead_process(path)
    await start([f"unix:{path}"])
    assert await answer_of("http://unix/", path) == "here"


async def test_socket_in_use_is_left_alone(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    await start([f"unix:{path}"])
    with pytest.raises(ListenError, match=f"^cannot listen on unix:{path}: another process listens there$"):
        await start([f"unix:{path}"])
    assert await answer_of("http://unix/", path) == "here"


async def test_socket_whose_owner_is_too_busy_to_accept_is_in_use(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ListenError, match="another process listens there"):
            await start([f"unix:{path}"])


async def test_a_file_that_is_not_a_socket_is_left_alone(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(ListenError, match=r"there is a file that is not a socket$"):
        await start([f"unix:{path}"])
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "entry",
    ["127.0.0.1:http", "127.0.0.1", ":9380", "127.0.0.1:70000", "unix:/dev/null/api.sock", "unix:api.sock", "192.0.2.1:0"],
)
async def test_an_error_names_the_entry(start: Serve, entry: str) -> None:
    with pytest.raises(ListenError) as caught:
        await start([entry])
    assert str(caught.value).startswith(f"cannot listen on {entry}: ")


async def test_when_one_entry_fails_none_stays(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"^cannot listen on 127.0.0.1:{port}: "):
            await start([f"unix:{path}", f"127.0.0.1:{port}"])
    assert not path.exists()
