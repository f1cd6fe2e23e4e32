"""`appliance lab`: the command line of the lab.

Exit codes: the command's own; 128 plus the signal's number when a signal ended the command or the lab (130 for Ctrl-C);
125 when the lab could not be created, or when the command succeeded but the appliance or a real server had died; 126 when
the command could not be executed; 127 when it was not found; 2 for a wrong command line.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import appliance as package
from appliance.config.tables import LANE_WORDS
from appliance.lab.errors import LAB_FAILED, LabError, StopRequested
from appliance.lab.lab import APPLIANCE, Lab, Options
from appliance.lab.names import LabName, labs_on_disk
from appliance.lab.removal import lab_exists, remove_lab, remove_leftovers
from appliance.lab.servers import OWN, SERVERS
from appliance.lab.signals import HeldSignals

_USAGE_ERROR = 2
_KILLED_BY_CTRL_C = 128 + signal.SIGINT
_INSTALLED_CONFIG = Path("/etc/appliance/lvs.toml")

_DESCRIPTION = """\
Create a client, a gateway and two real servers as network namespaces, start the appliance in the gateway, run CMD as the
client, and remove everything. The exit code is that of CMD; 125 means that the lab failed, and not CMD. Needs root.
"""
_EPILOG = """\
Real servers run an HTTP server of the lab's, and a UDP server where the configuration has UDP; with --servers none they run
nothing. The program of --serve is run by `sh` on each real server in their place. It is to listen on LISTEN_ADDRESS and
LISTEN_PORT of its environment, which also has REAL_SERVER, rs1 or rs2; CMD begins when that port takes connections.

The environment of CMD has APPLIANCE_API, with which the commands of the appliance work as the manual prints them, LAB_VIP,
LAB_PORT, LAB_API (a URL inside the gateway's namespace), LAB_CLIENT_NS, LAB_GATEWAY_NS, LAB_RS1_NS and LAB_RS2_NS (names
for `ip netns exec`), LAB_NAME, and LAB_DIR (the directory of the logs).

Example:
  appliance lab -- curl http://203.0.113.10/
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lab`."""
    parser.usage = (
        "appliance lab [--config FILE] [--shards N] [--lane WORD] [--one-armed]\n"
        "                     [--servers none | --serve PROGRAM] [--restart] [--keep]\n"
        "                     -- CMD...\n"
        "       appliance lab --remove NAME"
    )
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration file (default: etc/lvs.toml of the source tree, else {_INSTALLED_CONFIG})",
    )
    parser.add_argument("--shards", type=int, metavar="N", help="number of shards, instead of gateway.shards in FILE")
    parser.add_argument(
        "--lane", choices=LANE_WORDS, metavar="WORD", help="auto, off or required, instead of gateway.lane in FILE"
    )
    parser.add_argument(
        "--restart", action="store_true", help="start the appliance again whenever it ends, also when it was told to end"
    )
    parser.add_argument(
        "--one-armed",
        action="store_true",
        help="put clients and real servers on one network, behind one interface of the gateway, that of gateway.server_interface",
    )
    servers = parser.add_mutually_exclusive_group()
    servers.add_argument("--servers", choices=SERVERS, default=OWN, metavar="WORD", help="own or none: what the real servers run")
    servers.add_argument("--serve", metavar="PROGRAM", help="a command line that each real server runs in their place")
    parser.add_argument("--keep", action="store_true", help="leave the lab running after CMD, unless Ctrl-C ended CMD")
    parser.add_argument("--remove", metavar="NAME", help="remove the lab NAME, which was left running with --keep")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="CMD", help="the command to run as the client, with its arguments"
    )
    parser.set_defaults(config=default_config(), run=run)


def run(args: argparse.Namespace, appliance: Sequence[str] = APPLIANCE) -> int:
    """Do what the parsed command line says and return the exit code. Only the main thread may call it.

    `appliance` is the program to start in the gateway; tests pass one of their own.
    """
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if bool(command) == bool(args.remove):
        return _failed("give either a command after -- or --remove NAME", _USAGE_ERROR)
    try:
        if args.remove:
            return _remove(args.remove)
        with HeldSignals() as signals:
            remove_leftovers()
            return _run_in_new_lab(Lab(signals, appliance), args, command)
    except LabError as error:
        return _failed(str(error), LAB_FAILED)
    except OSError as error:
        return _failed(f"the system refused: {error}", LAB_FAILED)
    except StopRequested as stop:
        return 128 + stop.signum


def default_config() -> Path:
    """The configuration in the source tree that this package runs from; without a source tree, the installed one."""
    in_source_tree = Path(package.__file__).parent.parent / "etc" / "lvs.toml"
    return in_source_tree if in_source_tree.exists() else _INSTALLED_CONFIG


def _run_in_new_lab(lab: Lab, args: argparse.Namespace, command: Sequence[str]) -> int:
    kept = False
    lab.claim()
    try:
        lab.put_up(args.config, _options(args))
        code = lab.run(command)
        kept = args.keep and code != _KILLED_BY_CTRL_C
        if kept:
            lab.keep()
            print(_how_to_look_inside(lab))
        return code
    finally:
        if not kept:
            lab.take_down()


def _options(args: argparse.Namespace) -> Options:
    return Options(
        args.shards, args.lane, one_armed=args.one_armed, restarts=args.restart, servers=args.servers, serve=args.serve
    )


def _how_to_look_inside(lab: Lab) -> str:
    client, gateway = lab.name.namespace("client"), lab.name.namespace("gateway")
    return f"""
{lab.name} is kept and goes on running. To look inside:
  as the client      ip netns exec {client} curl http://{lab.plan.service}/
  counters           ip netns exec {gateway} curl http://{lab.plan.api}/stats/ext
  tunables           ip netns exec {gateway} curl http://{lab.plan.api}/sysctl
  client's packets   ip netns exec {gateway} tcpdump -n -i {lab.plan.client_interface}
  servers' packets   ip netns exec {gateway} tcpdump -n -i {lab.plan.server_interface}
  logs               {lab.name.directory}
To remove it:
  {_own_command()} lab --remove {lab.name}"""


def _own_command() -> str:
    called_as = sys.argv[0]
    return shlex.quote(called_as) if Path(called_as).name == "appliance" else shlex.join(APPLIANCE)


def _remove(text: str) -> int:
    name = LabName.parse(text)
    if name is None or not lab_exists(name):
        known = ", ".join(sorted(map(str, labs_on_disk()))) or "none"
        return _failed(f"there is no lab {text!r} (labs here: {known})", 1)
    with HeldSignals():
        remove_lab(name)
    return 0


def _failed(message: str, code: int) -> int:
    print(f"appliance lab: {message}", file=sys.stderr)
    return code
