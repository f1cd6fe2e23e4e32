"""The programs of the benchmark as they are called, and what they have in common."""

import http.client
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appliance.config.loading import parse as parse_config
from bench.rig import flooding
from bench.rig.gateway import appliance_command
from bench.rig.program import exit_code
from bench.rig.results import Spread
from bench.rig.stand_in import server_for
from bench.rig.tables import aligned, cell
from bench.rig.topology import LAB_CONFIG, REAL_SERVERS, VIPS, BenchError
from bench.senders.flood import NO_FLOOD, Flood
from bench.transfers.comparison import Reading, as_text
from bench.transfers.gateway import PORTS, lab_configuration

PROGRAMS = (
    "bench",
    "compare",
    "flood",
    "defence",
    "sessions",
    "transfers",
    "senders.syn_flood",
    "senders.stray_flood",
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_explains_itself(name: str) -> None:
    module = name if name == "bench" else f"bench.{name}"
    shown_as = "bench" if name == "compare" else module
    done = subprocess.run((sys.executable, "-m", module, "--help"), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: python -m {shown_as} ")
    assert "--inside-lab" not in done.stdout


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [(BenchError("no wrk"), 1, "bench.flood: no wrk\n"), (KeyboardInterrupt(), 130, "bench.flood: interrupted\n")],
)
def test_a_program_that_could_not_measure_says_why(
    capsys: pytest.CaptureFixture[str], error: BaseException, expected: int, said: str
) -> None:
    def program() -> int:
        raise error

    assert exit_code("bench.flood", program) == expected
    assert capsys.readouterr().err == said


def test_the_gateway_runs_the_appliance_with_another_file_than_the_labs() -> None:
    command = appliance_command(["own.toml", "run", "--config", "lab.toml", "--shards", "3"])
    assert command[1:] == ("-m", "appliance", "run", "--config", "own.toml", "--shards", "3")


def test_a_stand_in_answers_where_the_lab_asks_whether_the_appliance_is_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = tmp_path / "lvs.toml"
    config.write_text(LAB_CONFIG.read_text().replace("127.0.0.1:9380", f"127.0.0.1:{port}"))
    with server_for(config) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        thread.join()


def test_a_rate_is_of_what_was_sent() -> None:
    assert Flood(sent=100, failed=7, seconds=2.0).per_s == 50
    assert NO_FLOOD.per_s == 0


class TestFloodsMeanwhile:
    """A flood that ends with a measurement; a shell stands for the sender."""

    @pytest.fixture
    def shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flooding, "_BEFORE_OTHERS", ("env", "WORD=flooding"))  # instead of what only root may
        monkeypatch.setattr(flooding, "module", lambda script, *_: ("sh", "-c", script))

    @pytest.mark.usefixtures("shell")
    def test_it_goes_on_until_its_block_ends(self) -> None:
        with flooding.flooding_meanwhile("echo $WORD; exec cat /dev/zero >/dev/null", rate_per_s=5, seconds_max=1) as goes_on:
            assert goes_on()
        assert not goes_on()

    @pytest.mark.usefixtures("shell")
    def test_one_that_ends_by_itself_is_noticed(self) -> None:
        with flooding.flooding_meanwhile("echo $WORD", rate_per_s=5, seconds_max=1) as goes_on:
            while goes_on():
                pass

    @pytest.mark.usefixtures("shell")
    def test_one_that_does_not_begin_is_an_error(self) -> None:
        meanwhile = flooding.flooding_meanwhile("echo no right", rate_per_s=5, seconds_max=1)
        with pytest.raises(BenchError, match="did not begin"), meanwhile:
            pass

    def test_no_flood_goes_on(self) -> None:
        with flooding.flooding_meanwhile("not started", rate_per_s=0, seconds_max=1) as goes_on:
            assert goes_on()


class TestTables:
    """Figures in columns."""

    def test_words_begin_at_the_left_and_figures_end_at_the_right(self) -> None:
        assert aligned([["mode", "n"], ["a", "1,000"]]) == "mode      n\na     1,000\n"
        assert aligned([["n", "mode", "-"], ["10", "a", ""]], left={1}) == " n  mode  -\n10  a\n"

    def test_a_spread_is_its_median_and_both_ends(self) -> None:
        assert cell(Spread(1234.5, 0.25, 2000), 2) == "1,234.50 (0.25..2,000.00)"
        assert cell(None, 2) == "-"


class TestTransfers:
    """What can be tested without a lab."""

    def test_both_services_have_the_same_vip_and_real_servers_and_one_has_synproxy(self) -> None:
        services = {service.name: service for service in parse_config(lab_configuration(), "bench.toml").services}
        assert {name: service.port for name, service in services.items()} == PORTS
        assert {str(service.vip) for service in services.values()} == {VIPS[0]}
        assert {name: service.synproxy for name, service in services.items()} == {"proxied": True, "plain": False}
        for service in services.values():
            assert [(str(each.address), each.port) for each in service.real_servers] == [(a, 8080) for a in REAL_SERVERS]

    def test_ratios_are_of_the_same_round(self) -> None:
        readings = {"proxied": [Reading(1, 1), Reading(8, 1)], "plain": [Reading(2, 2), Reading(4, 1)]}
        speed = as_text("upload", readings).splitlines()[1]
        assert re.sub(" +", " ", speed).endswith("proxied/plain 1.25 [0.50..2.00]")
