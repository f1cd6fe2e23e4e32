"""How a program of this package begins and ends: its exit codes, what it needs of the host, the lab it puts around itself."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from appliance.lab import command
from bench.rig.servers import nginx_program
from bench.rig.topology import LAB_CONFIG, BenchError, module

FAILED = 1
INTERRUPTED = 128 + signal.SIGINT


def exit_code(name: str, program: Callable[[], int]) -> int:
    """Run a program to its end; one that could not measure says why, in the name of `name`."""
    try:
        return program()
    except BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def check_host(tools: Sequence[str], target: str) -> None:
    """Raises BenchError without root, or without nginx and all of `tools`, which `make TARGET` installs."""
    if os.geteuid() != 0:
        raise BenchError("it makes network namespaces and binds packet queues, so it has to run as root")
    missing = [tool for tool in tools if not shutil.which(tool)] + ([] if nginx_program() else ["nginx"])
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)} (make {target} installs what it needs)")


def run_in_lab(program: str, given: Sequence[str], shards: int, *, config: Path = LAB_CONFIG, gateway: str = "appliance") -> int:
    """Put up a lab whose command is `program` again, with the same command line, and whose appliance is the module `gateway`."""
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    lab = ("lab", "--config", str(config), "--shards", str(shards))
    inside = module(program, "--inside-lab", *given)
    return command.run(parser.parse_args([*lab, "--", *inside]), appliance=module(gateway))


def unwind_on_signals() -> None:
    """The lab ends its command with the signal it got itself; each is to unwind everything, as Ctrl-C does."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
