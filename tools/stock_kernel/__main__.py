"""The command line: python3 -m tools.stock_kernel [options] -- CMD…"""

import argparse
import math
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from tools.stock_kernel import qemu
from tools.stock_kernel.guest import DIED, TIMED_OUT, run
from tools.stock_kernel.job import CANNOT_START, Job
from tools.stock_kernel.provision import DEFAULT_FLAVOUR, FLAVOURS, cache_directory, provide
from tools.stock_kernel.tooling import SetupError, say

DESCRIPTION = f"""Run CMD as root under a stock Debian kernel, in a machine emulated by qemu on a throw-away overlay of
this machine's root filesystem. Input is empty; output, exit code, working directory and PATH are CMD's own.
Exit code {TIMED_OUT}: not finished in time; {DIED}: the guest ended without an exit code; {CANNOT_START}: not started."""
ALWAYS_PASSED = ("PATH", "HOME")
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFAULT_TIMEOUT_S = 600.0


def parser() -> argparse.ArgumentParser:
    """The options and their defaults."""
    options = argparse.ArgumentParser(prog="python3 -m tools.stock_kernel", description=DESCRIPTION)
    options.add_argument("--timeout", type=seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="for boot and CMD")
    options.add_argument("--memory", type=memory_size, default="2G", metavar="SIZE", help="512M, 2G (default), …")
    options.add_argument("--cpus", type=cpu_count, metavar="N", help="default: 1, with KVM all")
    options.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable to hand to CMD")
    options.add_argument("--rw", action="append", default=[], type=directory, metavar="DIR", help="CMD may write here")
    options.add_argument("--flavour", choices=FLAVOURS, default=DEFAULT_FLAVOUR, help="of Debian's kernel package")
    options.add_argument("--verbose", action="store_true", help="the guest's kernel log on stderr")
    options.add_argument("command", nargs="+", metavar="CMD")
    return options


def seconds(text: str) -> float:
    """A positive, finite number of seconds."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def memory_size(text: str) -> str:
    """A size as qemu reads it."""
    if not re.fullmatch(r"[1-9]\d*[MG]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512M or 2G")
    return text


def cpu_count(text: str) -> int:
    """A number of processors."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} processors are too few")
    return value


def directory(text: str) -> Path:
    """A directory that exists, by its absolute path: the guest finds it in the same place."""
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path


def passed_environment(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the command gets. A name that is not set is left out, as `env` would."""
    return {name: environment[name] for name in (*ALWAYS_PASSED, *names) if name in environment}


def leave(number: int, _frame: FrameType | None) -> None:
    """End this process with all clean-up, which no second signal interrupts."""
    for ending in ENDING_SIGNALS:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Provide, boot, run; return the exit code."""
    options = parser().parse_args()
    for ending in ENDING_SIGNALS:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as under nohup
            signal.signal(ending, leave)
    environment = passed_environment(options.env, os.environ)
    job = Job(tuple(options.command), Path.cwd(), environment, tuple(options.rw))
    kvm = qemu.kvm_usable()
    machine = qemu.Machine(options.memory, options.cpus or qemu.default_cpus(kvm=kvm), kvm, options.verbose)
    try:
        provisions = provide(cache_directory(os.environ), options.flavour)
        return run(job, machine, provisions, options.timeout)
    except SetupError as error:
        say(str(error))
        return CANNOT_START
    except BrokenPipeError:  # nobody reads the output any more: end as a program killed by SIGPIPE
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
