"""`appliance top` in a terminal, at a gateway with traffic: what it shows is what there is, keys and another size of the window
do what they should, and it outlives the appliance."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import is_healthy, kill_all
from tests.support.terminal import APPLIANCE, Terminal, in_terminal

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="once is enough: what it shows of the lane needs one")

TEXT = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
FRAGMENTS, FRAGMENTS_PER_S = 3000, 1000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab whose appliance is started again when it ends."""
    config = tmp_path_factory.mktemp("top") / "lvs.toml"
    config.write_text(TEXT)
    yield from running_lab("--config", str(config), "--shards", "2", "--restart")


def row(terminal: Terminal, name: str) -> list[str]:
    """The words of the line below the titles that begins with a name; empty when there is none."""
    lines = terminal.lines
    heads = [number for number, line in enumerate(lines) if " 1 services " in line]
    found = [line.split() for line in lines[heads[0] + 2 : -1] if line.split()[:1] == [name]] if heads else []
    return found[0] if found else []


def number(shown: str) -> float:
    """What a short number says; -1 for one that is not known."""
    if shown == "-":
        return -1.0
    thousands = " kMG".index(shown[-1]) if shown[-1].isalpha() else 0
    return float(shown.rstrip("kMG")) * float(1000**thousands)


def test_keys_sizes_and_a_restart_under_traffic(lab: RunningLab) -> None:
    command = [*APPLIANCE, "top", "--interval", "0.5", "--api", lab.environment["APPLIANCE_API"]]
    with lab.start("client", "load_until_told.py", "4") as load, in_terminal(command) as top:
        assert load.stdout is not None
        assert load.stdout.readline() == "loading\n"

        def is_moving(name: str, column: int) -> bool:
            words = row(top, name)
            return len(words) > column and number(words[column]) > 0

        for column, what in enumerate(("new/s", "pkts/s", "in b/s", "out b/s", "sess"), 1):
            top.wait_until(f"web has {what}", lambda column=column: is_moving("web", column))  # type: ignore[misc]
        top.see("unix:/", " lane on ", "q quit")
        top.wait_until("the lane has a share", lambda: bool(re.search(r"by lane [1-9][0-9]*%", top.text)))

        top.types("2")
        top.wait_until("the lane carries packets", lambda: is_moving("lane", 3))
        top.wait_until("both shards have new sessions", lambda: is_moving("0", 2) and is_moving("1", 2))
        with lab.changed(prepared_admissions=0):  # else the kernel opens all of them
            top.wait_until("both shards take packets", lambda: is_moving("0", 3) and is_moving("1", 3))
        top.wait_until("CPU time is known", lambda: row(top, "0")[8:9] not in ([], ["-"]))
        top.wait_until("its worker was started once", lambda: row(top, "0")[9:10] == ["1"])

        top.types("\t")
        top.see("192.0.2.101:8080", "192.0.2.102:8080", "real server")
        drain = "/services/web/real_servers/192.0.2.101:8080/drain"
        lab.api(drain, "-X", "POST")
        top.see("drained")
        lab.api(drain, "-X", "DELETE")
        top.wait_until("it is drained no more", lambda: "drained" not in top.text)

        with lab.start("client", "stray_flood.py", "fragment", str(FRAGMENTS), str(FRAGMENTS_PER_S)) as flood:
            flood.communicate()
        top.types("4")
        top.wait_until("fragments are dropped", lambda: bool(row(top, "defence_ip_frag_drop")))
        top.types("5")
        top.see("198.51.100.2")

        top.types("1/")
        top.see("text in a row")
        top.types("ECHO\r")
        top.wait_until("one service is left", lambda: bool(row(top, "echo")) and not row(top, "web"))
        top.types("\x1b")
        top.wait_until("all are there", lambda: bool(row(top, "echo")) and bool(row(top, "web")))

        top.resize(150, 40)
        top.see("address", "TCP 203.0.113.10:80", "UDP 203.0.113.10:80")
        assert len(top.lines[0]) == 150
        top.wait_until("the foot is at the bottom", lambda: "q quit" in top.lines[-1])
        top.resize(80, 24)
        top.wait_until(
            "80 columns have no room for addresses", lambda: "TCP 203.0.113.10:80" not in top.text and "web" in top.text
        )

        def is_silent() -> bool:
            """Whether it has noticed a death of the appliance, which is there again after a second or two."""
            if b"no answer since " not in top.written and is_healthy(lab):
                kill_all(lab)
            return b"no answer since " in top.written

        top.wait_until("it says that there is no answer", is_silent)
        assert row(top, "web"), "what was known stays"
        top.wait_until("it goes on by itself", lambda: "no answer" not in top.text and is_moving("web", 2))

        top.types("q")
        assert top.ends() == 0
        assert b"\x1b[?1049l" in top.written[-500:], "the terminal has its own screen again"
        load.communicate("\n")
