"""director/host_parameters.py: reads and writes beside the event loop, one write at a time."""

import asyncio
import threading
from pathlib import Path

import pytest

from appliance.director.host_parameters import HostParameters
from appliance.director.sysctls import Sysctls
from appliance.edge import sysctl
from appliance.model.host_parameter import HostParameterError
from appliance.model.host_parameters import HOST_PARAMETERS
from tests.support.proc_sys import ProcSysNet

FIN_TIMEOUT, RETRIES = HOST_PARAMETERS["tcp_fin_timeout"], HOST_PARAMETERS["tcp_retries2"]


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcSysNet:
    monkeypatch.setattr(sysctl, "NET", tmp_path)
    net = ProcSysNet(tmp_path)
    net.fill("client0")
    return net


@pytest.fixture
def parameters(net: ProcSysNet) -> HostParameters:
    assert net.root
    return HostParameters(Sysctls(lambda: None))


async def test_all_are_read_in_their_order(parameters: HostParameters) -> None:
    readings = await parameters.read_all()
    assert [reading.parameter.name for reading in readings] == list(HOST_PARAMETERS)
    assert (await parameters.read(FIN_TIMEOUT)).values == {"": (60,)}


async def test_a_write_says_what_is_in_force(net: ProcSysNet, parameters: HostParameters) -> None:
    assert (await parameters.write(FIN_TIMEOUT, "", (30,))).values == {"": (30,)}
    assert net["ipv4/tcp_fin_timeout"] == "30"
    with pytest.raises(HostParameterError, match="out of range"):
        await parameters.write(FIN_TIMEOUT, "", (0,))


async def test_a_change_holds_when_its_block_ends_well_and_is_taken_back_when_it_does_not(
    net: ProcSysNet, parameters: HostParameters
) -> None:
    async with parameters.changed({"tcp_fin_timeout": (30,)}):
        assert net["ipv4/tcp_fin_timeout"] == "30"
    with pytest.raises(ZeroDivisionError):
        async with parameters.changed({"tcp_fin_timeout": (31,), "tcp_retries2": (8,)}):
            raise ZeroDivisionError
    assert (net["ipv4/tcp_fin_timeout"], net["ipv4/tcp_retries2"]) == ("30", "15")


async def test_writes_wait_for_each_other_without_a_thread(monkeypatch: pytest.MonkeyPatch, net: ProcSysNet) -> None:
    """Otherwise a slow one, and those behind it, would take all threads of the director."""
    sysctls, go_on = Sysctls(lambda: None), threading.Event()
    write, inside = sysctls.write, threading.Semaphore(0)

    def slow(*arguments: object) -> object:
        inside.release()
        go_on.wait()
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sysctls, "write", slow)
    parameters = HostParameters(sysctls)
    writes = [asyncio.ensure_future(parameters.write(RETRIES, "", (value,))) for value in range(5, 25)]
    await asyncio.to_thread(inside.acquire)
    others = inside.acquire(blocking=False)
    go_on.set()
    await asyncio.gather(*writes)
    assert not others
    assert net["ipv4/tcp_retries2"] == "24", "in the order in which they came"
