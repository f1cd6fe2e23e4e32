"""`appliance lab` against the kernel, mostly with a stand-in for the appliance that fails on demand."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

SHIPPED = Path(__file__).parents[2] / "etc" / "lvs.toml"

DRIVER = """
import argparse, sys
from appliance.lab import command
parser = argparse.ArgumentParser()
command.add_options(parser)
arguments = parser.parse_args(sys.argv[2:])
sys.exit(command.run(arguments, (sys.executable, sys.argv[1])))
"""

STAND_IN = """
import http.server, os, pathlib, sys
print("stand-in", *sys.argv[1:], flush=True)
behaviour = os.environ["STAND_IN"]
if behaviour == "exit":
    sys.exit("no queue for me")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if behaviour == "never ready" else 200)
        self.end_headers()
    def log_message(self, *_):
        print("asked", flush=True)
for directory in ("/run", "/dev/shm"):
    pathlib.Path(directory, "lab-test-marker").touch()
http.server.HTTPServer(("127.0.0.1", 9380), Handler).serve_forever()
"""

SHOW_ENVIRONMENT = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


class LabStarter:
    """Starts labs with the stand-in, and checks that nothing is left of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stand_in = directory / "stand_in.py"
        self.stand_in.write_text(STAND_IN, encoding="utf-8")

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", DRIVER, str(self.stand_in), *arguments]

    def environment(self, behaviour: str) -> dict[str, str]:
        return {**os.environ, "STAND_IN": behaviour, "LAB_TEST_MARK": str(self.directory), "TMPDIR": str(self.directory)}

    def start(self, *arguments: str, behaviour: str = "serve") -> "subprocess.Popen[str]":
        pipe, environment = subprocess.PIPE, self.environment(behaviour)
        return subprocess.Popen(self.argv(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)

    def run(self, *arguments: str, behaviour: str = "serve") -> tuple[int, str, str]:
        with self.start(*arguments, behaviour=behaviour) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    def is_gone(self) -> bool:
        """Check that no directory and no process is left of the labs started here. Namespaces are checked by name."""
        return not list(self.directory.glob("appliance-lab-*")) and not self.processes()

    def processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.directory).encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text(encoding="utf-8", errors="replace"))
        return found


@pytest.fixture
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabStarter]:
    starter = LabStarter(tmp_path_factory.mktemp("labs"))  # short, because the path of a Unix socket has 107 bytes at most
    yield starter
    for directory in starter.directory.glob("appliance-lab-*"):  # a failed test must not leave its lab to the others
        starter.run("--remove", directory.name.removeprefix("appliance-"))


def namespaces(pid_or_name: int | str) -> list[str]:
    prefix = f"lab-{pid_or_name}-" if isinstance(pid_or_name, int) else f"{pid_or_name}-"
    return sorted(entry.name for entry in Path("/run/netns").glob(f"{prefix}*"))


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def edited(directory: Path, *changes: tuple[str, str]) -> str:
    """A copy of the shipped configuration with each (old, new) applied."""
    text = SHIPPED.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    copy = directory / "edited.toml"
    copy.write_text(text, encoding="utf-8")
    return str(copy)


def inside(role: str, *argv: str) -> str:
    """A shell command that runs `argv` in the namespace of `role`."""
    return f"ip netns exec $LAB_{role.upper()}_NS " + " ".join(argv)


def test_command_finds_its_lab_in_the_environment(labs: LabStarter) -> None:
    code, out, err = labs.run("--", *SHOW_ENVIRONMENT)
    told = json.loads(out)
    name = told["LAB_NAME"]
    assert (code, err) == (0, "")
    assert [told[key] for key in ("LAB_VIP", "LAB_PORT", "LAB_API")] == ["203.0.113.10", "80", "http://127.0.0.1:9380"]
    roles = ("client", "gateway", "rs1", "rs2")
    assert [told[f"LAB_{role.upper()}_NS"] for role in roles] == [f"{name}-{role}" for role in roles]
    assert told["LAB_TEST_MARK"] == str(labs.directory)
    assert namespaces(name) == []
    assert labs.is_gone()


def test_commands_of_operators_reach_the_api_from_every_namespace(labs: LabStarter) -> None:
    ask = 'curl -s -o /dev/null -w "%{http_code} " --unix-socket ${APPLIANCE_API#unix:} http://lab/healthz'
    code, out, _ = labs.run("--", "sh", "-c", f"{ask}; " + inside("rs1", ask))
    assert (code, out) == (0, "200 200 ")
    assert labs.is_gone()


def test_ports_of_real_servers_are_free_for_others(labs: LabStarter) -> None:
    ask = inside("gateway", "curl", "-s", "http://192.0.2.101:8080/")
    program = "import socket; socket.create_server(('192.0.2.101', 8080)); print('free')"
    use = inside("rs1", sys.executable, "-c", f'"{program}"')
    code, out, _ = labs.run("--servers", "none", "--", "sh", "-c", f"{ask} || echo nobody; {use}")
    assert (code, out) == (0, "nobody\nfree\n")
    assert labs.is_gone()


def test_a_program_of_the_user_serves_on_each_real_server(labs: LabStarter) -> None:
    own = f"mkdir {labs.directory}/$REAL_SERVER && cd {labs.directory}/$REAL_SERVER && echo $REAL_SERVER > who"
    program = f"{own} && exec {sys.executable} -m http.server -b $LISTEN_ADDRESS $LISTEN_PORT"
    asks = (inside("gateway", "curl", "-s", f"http://192.0.2.{host}:8080/who") for host in (101, 102))
    code, out, _ = labs.run("--serve", program, "--", "sh", "-c", "; ".join(asks))
    assert (code, out) == (0, "rs1\nrs2\n")
    assert labs.is_gone()


def test_a_program_of_the_user_that_ends_is_explained(labs: LabStarter) -> None:
    code, out, err = labs.run("--serve", "echo no disk; exit 3", "--", "echo", "never reached")
    assert (code, out) == (125, "")
    assert "your program on rs1 ended with code 3" in err
    assert "no disk" in err
    assert labs.is_gone()


def test_every_link_works_and_servers_know_no_way_to_the_client(labs: LabStarter) -> None:
    script = [
        "ip -o -4 addr show dev eth0 | awk '{print $4}'",
        "ping -qc1 198.51.100.1 >/dev/null && echo client to gateway" if Path("/bin/ping").exists() else "echo skipped",
        inside("gateway", "curl", "-s", "http://192.0.2.101:8080/"),
        inside("gateway", "curl", "-s", "http://192.0.2.102:8080/"),
        inside("rs1", "ip", "route", "get", "198.51.100.2", "2>&1"),
        inside("gateway", "ip", "-6", "addr"),
    ]
    code, out, _ = labs.run("--", "sh", "-c", ";echo;".join(script))
    assert "198.51.100.2/24" in out
    assert '"real_server": "rs1", "peer": "192.0.2.1:' in out
    assert '"real_server": "rs2", "peer": "192.0.2.1:' in out
    assert "Network is unreachable" in out
    assert "inet6" not in out
    assert code == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "cat >/dev/null; exit 3"], 3),
        (["no-such-command"], 127),
    ],
)
def test_exit_code_is_the_commands(labs: LabStarter, command: list[str], code: int) -> None:
    assert labs.run("--", *command)[0] == code
    assert labs.is_gone()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signal_ends_command_and_lab(labs: LabStarter, signum: signal.Signals) -> None:
    with labs.start("--keep", "--", "sh", "-c", "echo up; sleep 1000 & sleep 1000") as process:
        first_line(process)
        process.send_signal(signum)
    assert process.returncode == 128 + signum
    assert namespaces(process.pid) == []
    assert labs.is_gone()


def test_stop_signal_during_setup_removes_what_was_made(labs: LabStarter) -> None:
    with labs.start("--", "true", behaviour="never ready") as process:
        while not any("asked" in log.read_text(encoding="utf-8") for log in labs.directory.glob("*/appliance.log")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert namespaces(process.pid) == []
    assert labs.is_gone()


def test_appliance_that_does_not_start_is_explained(labs: LabStarter) -> None:
    code, out, err = labs.run("--shards", "3", "--", "echo", "never reached", behaviour="exit")
    assert (code, out) == (125, "")
    assert "the appliance ended with code 1" in err
    assert "--shards 3" in err
    assert "no queue for me" in err
    assert labs.is_gone()


@pytest.mark.parametrize(("own_code", "code"), [(0, 125), (4, 4)])
def test_appliance_that_dies_is_reported_at_once_and_the_command_ends_by_itself(
    labs: LabStarter, own_code: int, code: int
) -> None:
    kill = "ip netns pids $LAB_GATEWAY_NS | xargs kill -9; echo killed; read line; echo went on"
    with labs.start("--", "sh", "-c", f"{kill}; exit {own_code}") as process:
        first_line(process)
        assert process.stderr is not None
        assert "the appliance ended with code 137" in process.stderr.readline()
        out, _ = process.communicate("go on\n")
    assert (process.returncode, out) == (code, "went on\n")
    assert labs.is_gone()


def test_bad_configuration_is_named_as_the_user_named_it(labs: LabStarter) -> None:
    path = edited(labs.directory, ('vip = "203.0.113.10"', 'vip = "203.0.113.300"'))
    code, _, err = labs.run("--config", path, "--", "true")
    assert code == 125
    assert err.startswith(f"appliance lab: {path}:")
    assert labs.is_gone()


def test_edited_configuration_works(labs: LabStarter) -> None:
    changes = (
        ('"client0"', '"outside"'),
        ('"server0"', '"inside-of-it-all"'[:15] + '"'),
        ("manage_addresses = true", "manage_addresses = false"),
        ('"192.0.2.11"', '"203.0.113.200"'),
        ('address = "192.0.2.102"', 'address = "203.0.113.102"'),
    )
    script = [
        "echo $LAB_VIP",
        inside("gateway", "ip", "-o", "-4", "addr"),
        inside("gateway", "curl", "-s", "http://203.0.113.102:8080/"),
        inside("gateway", "curl", "-s", "--interface", "203.0.113.200", "http://192.0.2.101:8080/"),
        inside("gateway", "curl", "-s", "--interface", "203.0.113.200", "http://203.0.113.102:8080/"),
    ]
    code, out, _ = labs.run("--config", edited(labs.directory, *changes), "--", "sh", "-c", ";".join(script))
    for address in ("203.0.113.10/32", "192.0.2.10/32", "203.0.113.200/32"):
        assert address in out
    assert '"real_server": "rs2", "peer": "192.0.2.1:' in out
    assert '"real_server": "rs1", "peer": "203.0.113.200:' in out
    assert '"real_server": "rs2", "peer": "203.0.113.200:' in out
    assert code == 0


def test_labs_run_side_by_side_and_hold_on_to_nothing_of_each_other(labs: LabStarter) -> None:
    with labs.start("--", sys.executable, "-c", "import os; print(os.environ['LAB_NAME'], flush=True); input()") as first:
        first_name = first_line(first)
        mounts = "cat /proc/$(ip netns pids $LAB_GATEWAY_NS | head -1)/mountinfo"
        with labs.start("--", "sh", "-c", f"echo up; read line; {mounts}; ls /run /dev/shm") as second:
            first_line(second)
            first.communicate("end\n")
            out, _ = second.communicate("go on\n")
    assert (first.returncode, second.returncode) == (0, 0)
    assert " - tmpfs lab-run " in out
    assert first_name not in out
    assert "lab-test-marker" not in out
    assert labs.is_gone()


def test_kept_lab_goes_on_until_it_is_removed(labs: LabStarter) -> None:
    code, out, _ = labs.run("--keep", "--", "sh", "-c", "echo $LAB_NAME; exit 6")
    name = out.splitlines()[0]
    assert code == 6
    assert f"lab --remove {name}" in out
    assert f"ip netns exec {name}-client curl http://203.0.113.10:80/" in out
    assert labs.run("--", "true")[0] == 0  # the next lab removes what others left, and a kept lab is not that
    answer = subprocess.check_output(
        ["ip", "netns", "exec", f"{name}-gateway", "curl", "-s", "http://192.0.2.102:8080/"], text=True
    )
    assert json.loads(answer)["real_server"] == "rs2"
    assert labs.run("--remove", name)[0] == 0
    assert namespaces(name) == []
    assert labs.is_gone()
    assert labs.run("--remove", name)[0] == 1


def test_next_lab_removes_what_a_killed_one_left(labs: LabStarter) -> None:
    with labs.start("--keep", "--", "sh", "-c", "echo up; exec sleep 1000") as killed:
        first_line(killed)
        killed.kill()
    assert len(namespaces(killed.pid)) == 4
    assert labs.run("--", "true")[0] == 0
    assert namespaces(killed.pid) == []
    assert labs.is_gone()


def in_terminal(labs: LabStarter, *command: str) -> tuple[int, int]:
    """Start a lab as the foreground job of a new terminal. Returns its pid and the other end of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, labs.argv("--", *command), labs.environment("serve"))
    return pid, terminal


def expect(terminal: int, text: str) -> None:
    """Read from the terminal until `text` has come."""
    seen = b""
    while text.encode() not in seen:
        seen += os.read(terminal, 1024)


@pytest.fixture
def terminals() -> Iterator[Callable[[int], None]]:
    """A function that takes a terminal, which is closed after the test."""
    opened: list[int] = []
    yield opened.append
    for terminal in opened:
        os.close(terminal)


def test_ctrl_c_on_the_terminal_is_130(labs: LabStarter, terminals: Callable[[int], None]) -> None:
    pid, terminal = in_terminal(labs, sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()")
    terminals(terminal)
    expect(terminal, "up")
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert namespaces(pid) == []
    assert labs.is_gone()


def test_interactive_shell_has_the_terminal_and_job_control(labs: LabStarter, terminals: Callable[[int], None]) -> None:
    pid, terminal = in_terminal(labs, "env", "PS1=ready-\\s> ", "bash", "--norc", "--noprofile", "-i")
    terminals(terminal)
    # Each line is written only when its reader has the terminal; another program could read a line that was written earlier.
    expect(terminal, "ready-bash> ")
    os.write(terminal, b"echo $LAB_VIP-$((6*7)); sed -u s/into/out-of/\n")
    expect(terminal, "203.0.113.10-42")
    os.write(terminal, b"into sed\n")
    expect(terminal, "out-of sed")
    os.write(terminal, b"\x03")  # interrupts sed, not the shell and not the lab
    expect(terminal, "ready-bash> ")
    os.write(terminal, b"exit 9\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert labs.is_gone()
