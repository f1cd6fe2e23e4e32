"""cli/host.py: what `appliance host sysctl` prints of the answers of the API, and what it asks for."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from appliance.__main__ import main
from appliance.api import make_app, serve
from appliance.model.host_parameters import HOST_PARAMETERS
from tests.support.gateway import FakeGateway


class Operator:
    """Runs the command against an API in front of a gateway that the test sets."""

    def __init__(self, gateway: FakeGateway, address: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateway = gateway
        self._address = address
        self._capsys = capsys

    async def reads(self, *words: str) -> str:
        """The output of a command that succeeds."""
        code = await asyncio.to_thread(main, ["host", "sysctl", *words, "--api", self._address])
        printed = self._capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return printed.out


@pytest.fixture
async def operator(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Operator]:
    gateway = FakeGateway()
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    yield Operator(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", capsys)
    await runner.cleanup()


async def test_all_are_listed(operator: Operator) -> None:
    assert [line.split()[0] for line in (await operator.reads()).splitlines()] == ["name", *HOST_PARAMETERS]
    assert list(json.loads(await operator.reads("--json"))) == list(HOST_PARAMETERS)


async def test_one_is_explained(operator: Operator) -> None:
    assert (
        await operator.reads("tcp_fin_timeout")
        == """\
net.ipv4.tcp_fin_timeout = 60

How long a socket that its program has closed waits in FIN_WAIT_2 for the peer's
FIN.

range        1..3600 s
default      60 s
recommended  no other value
often wrong  It is taken for the time of TIME_WAIT, also in books. TIME_WAIT is
             60 s in Linux, a constant of the kernel, and no parameter changes
             it.
here         It does nothing for sessions of the gateway, which have both times
             as tunables, and unlike the kernel as two of them.
tunables     tcp_timeout_fin_wait, tcp_timeout_time_wait (appliance sysctl
             NAME): the same for sessions of the gateway
"""
    )


async def test_several_numbers_and_a_default_that_depends_on_the_memory(operator: Operator) -> None:
    lines = (await operator.reads("tcp_rmem")).splitlines()
    assert lines[0] == "net.ipv4.tcp_rmem = 1024 1024 1024"
    at = lines.index("range        min 1024..1073741824, default 1024..1073741824, max")
    assert lines[at + 1] == "             1024..1073741824 bytes"
    assert "default      as the kernel finds right for the memory" in lines


async def test_one_for_each_interface_has_a_line_for_each(operator: Operator) -> None:
    lines = (await operator.reads("rp_filter")).splitlines()
    assert lines[:4] == [
        "net.ipv4.conf.all.rp_filter = 0",
        "net.ipv4.conf.client0.rp_filter = 0",
        "net.ipv4.conf.eth0/5.rp_filter = 0",
        "",
    ]
    assert "recommended  2" in lines
    assert (await operator.reads("conf.eth0.5.rp_filter")).startswith("net.ipv4.conf.eth0/5.rp_filter = 0\n\n")


async def test_what_cannot_be_written_says_why(operator: Operator) -> None:
    assert "\nread-only    the test says so\n" in await operator.reads("nf_conntrack_max")
    recycle = await operator.reads("tcp_tw_recycle")
    assert recycle.startswith("net.ipv4.tcp_tw_recycle = (absent)\n")
    assert "\nabsent       the kernel of the test does not have it\n" in recycle


@pytest.mark.parametrize(
    ("words", "printed", "path", "values"),
    [
        (("tcp_fin_timeout", "30"), "net.ipv4.tcp_fin_timeout = 30\n", "ipv4/tcp_fin_timeout", (30,)),
        (("tcp_fin_timeout=30",), "net.ipv4.tcp_fin_timeout = 30\n", "ipv4/tcp_fin_timeout", (30,)),
        ((" net.ipv4.tcp_fin_timeout = 30",), "net.ipv4.tcp_fin_timeout = 30\n", "ipv4/tcp_fin_timeout", (30,)),
        (
            ("/proc/sys/net/ipv4/tcp_rmem", "4096", "131072", "6291456"),
            "net.ipv4.tcp_rmem = 4096 131072 6291456\n",
            "ipv4/tcp_rmem",
            (4096, 131072, 6291456),
        ),
        (
            ("tcp_rmem=4096 131072 6291456",),
            "net.ipv4.tcp_rmem = 4096 131072 6291456\n",
            "ipv4/tcp_rmem",
            (4096, 131072, 6291456),
        ),
        (
            ("net.ipv4.conf.all.rp_filter=2",),
            "net.ipv4.conf.all.rp_filter = 2\n",
            "ipv4/conf/all/rp_filter",
            (2,),
        ),
    ],
)
async def test_a_write_prints_what_is_in_force(
    operator: Operator, words: tuple[str, ...], printed: str, path: str, values: tuple[int, ...]
) -> None:
    assert await operator.reads(*words) == printed
    assert operator.gateway.host_parameters.values[path] == values


async def test_a_write_of_all_interfaces_prints_each(operator: Operator) -> None:
    assert await operator.reads("rp_filter", "2") == (
        "net.ipv4.conf.all.rp_filter = 0\nnet.ipv4.conf.client0.rp_filter = 2\nnet.ipv4.conf.eth0/5.rp_filter = 2\n"
    )


async def test_json_is_the_answer_of_the_api(operator: Operator) -> None:
    assert json.loads(await operator.reads("tcp_fin_timeout", "--json"))["mistake"].startswith("It is taken for")
    assert json.loads(await operator.reads("tcp_fin_timeout", "30", "--json"))["value"] == 30


async def test_sysctl_is_the_only_topic(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["host", "tables"])
    assert ended.value.code == 2
    assert "'tables' is none of sysctl" in capsys.readouterr().err
