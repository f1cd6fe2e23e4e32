"""How a program of this package begins and ends: its exit codes, what it needs of the host, the lab it puts around itself."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from appliance.lab import command
from bench.rig.servers import nginx_program
from bench.rig.topology import LAB_CONFIG, BenchError, module

FAILED = 1
INTERRUPTED = 128 + signal.SIGINT

Item = TypeVar("Item")


def exit_code(name: str, program: Callable[[], int]) -> int:
    """Run a program to its end; one that could not measure prints why, after `name`."""
    try:
        return program()
    except BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def run(
    name: str,
    given: Sequence[str],
    parse: Callable[[Sequence[str]], argparse.Namespace],
    make_lab: Callable[[argparse.Namespace, Sequence[str]], int],
    measure_inside: Callable[[argparse.Namespace], int],
) -> int:
    """Run one half of a program that measures in a lab: `make_lab`, or in that lab `measure_inside`. Returns the exit code.

    `given` is the command line. `parse` reads `--inside-lab` from it, which `run_in_lab` gives.
    """
    options = parse(given)
    return exit_code(name, lambda: measure_inside(options) if options.inside_lab else make_lab(options, given))


def within(low: int, high: int) -> Callable[[str], int]:
    """The type of a whole number on the command line, from `low` to `high`."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return number


def listed(one: Callable[[str], Item]) -> Callable[[str], tuple[Item, ...]]:
    """The type of a list on the command line, with commas between its items; each counts once. `one` is the type of an item."""

    def items(text: str) -> tuple[Item, ...]:
        read, refusals = [], []
        for word in text.split(","):
            try:
                read.append(one(word))
            except argparse.ArgumentTypeError as refusal:
                refusals.append(str(refusal))
        if refusals:
            raise argparse.ArgumentTypeError("; ".join(refusals))
        return tuple(dict.fromkeys(read))

    return items


def unless(refusal: Callable[[str], str]) -> Callable[[str], str]:
    """The type of a name on the command line; `refusal` says why it is none, or nothing."""

    def name(text: str) -> str:
        if said := refusal(text):
            raise argparse.ArgumentTypeError(said)
        return text

    return name


def check_host(tools: Sequence[str], target: str) -> None:
    """Raises BenchError for a user who is not root, and for tools that are missing: nginx and `tools`, which `make TARGET`
    installs."""
    if os.geteuid() != 0:
        raise BenchError("it makes network namespaces and binds packet queues, so it has to run as root")
    missing = [tool for tool in tools if not shutil.which(tool)] + ([] if nginx_program() else ["nginx"])
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)} (make {target} installs what it needs)")


def run_in_lab(
    program: str,
    given: Sequence[str],
    shards: int,
    *,
    lab: str | None = None,
    appliance: str | None = None,
    gateway: Sequence[str] | None = None,
) -> int:
    """Put up a lab whose command is `program` again, with the same command line. Returns the exit code.

    `lab` and `appliance` are texts of configurations: for the lab, instead of the shipped one, and for the appliance in it,
    instead of the lab's. `gateway` is a program that runs in the place of the appliance.
    """
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    with tempfile.TemporaryDirectory() as directory:
        lab_config, own_config = Path(directory, "lvs.toml"), Path(directory, "bench.toml")
        lab_config.write_text(LAB_CONFIG.read_text() if lab is None else lab)
        own_config.write_text(appliance or "")
        line = ("--config", str(lab_config), "--shards", str(shards), "--", *module(program, "--inside-lab", *given))
        with_own_config = module("appliance") if appliance is None else module("bench.rig.gateway", str(own_config))
        return command.run(parser.parse_args(line), appliance=gateway or with_own_config)


def unwind_on_signals() -> None:
    """Have signals unwind the program as Ctrl-C does: the lab passes on the signal that ends it."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
