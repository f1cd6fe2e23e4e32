"""The command line of qemu, which describes the emulated machine."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "qemu-system-x86_64"

KERNEL_PARAMETERS = (
    "console=ttyS0",
    "panic=-1",  # a panic ends the guest at once; by default it would hang for ever
    "no_timer_check",  # an emulated timer may miss its test on a busy host, and the kernel then panics
    "tsc=reliable",  # an emulated clock may miss its check too, and the kernel would change the clock while it runs
    "random.trust_cpu=on",  # nothing else fills the random pool here, and programs wait for it
    "mitigations=off",  # costs time for every system call, and protects nothing in an emulator
    "nokaslr",  # moving the kernel costs boot time
    "cryptomgr.notests",  # self-tests of every cipher cost boot time too
    "audit=0",
    "rcupdate.rcu_expedited=1",  # removing namespaces and rules waits for one grace period after another
)
QUIET = ("quiet", "loglevel=3")
VERBOSE = ("loglevel=7",)


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of the machine that the caller chooses. `memory` is in qemu's notation: a number with M or G."""

    memory: str
    cpus: int
    kvm: bool
    verbose: bool


@dataclass(frozen=True, slots=True)
class Ports:
    """File descriptors of the connected sockets for the guest's stdout, stderr and serial console."""

    out: int
    err: int
    console: int


def command_line(machine: Machine, kernel: Path, initramfs: Path, ports: Ports, shares: Sequence[str]) -> list[str]:
    """The whole command; `shares` are the arguments that the transport of the file shares needs."""
    parameters = (*KERNEL_PARAMETERS, *(VERBOSE if machine.verbose else QUIET))
    return [
        PROGRAM,
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none"),
        "-no-reboot",
        *("-machine", "q35", "-m", machine.memory, "-smp", str(machine.cpus)),
        *accelerator(kvm=machine.kvm),
        *("-kernel", str(kernel), "-initrd", str(initramfs), "-append", " ".join(parameters)),
        *("-chardev", f"socket,id=console,fd={ports.console}", "-serial", "chardev:console"),
        # The numbers are part of the guest's device names, /dev/vport0p1 and /dev/vport0p2.
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=out,fd={ports.out}", "-device", "virtserialport,nr=1,chardev=out"),
        *("-chardev", f"socket,id=err,fd={ports.err}", "-device", "virtserialport,nr=2,chardev=err"),
        *shares,
    ]


def accelerator(*, kvm: bool) -> list[str]:
    """The options for hardware virtualisation, or for emulation with one host thread per emulated processor."""
    if kvm:
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


def default_cpus(*, kvm: bool) -> int:
    """The number of processors: with KVM all of this machine, without KVM one.

    Emulated processors run in threads that share translated code, and qemu 7.2 has races there; one processor has none.
    It boots as fast, and work for several processes then takes up to twice as long.
    """
    return (os.cpu_count() or 1) if kvm else 1


def kvm_usable(cpuinfo: Path = Path("/proc/cpuinfo"), device: Path = Path("/dev/kvm")) -> bool:
    """Whether KVM works. The device alone is not enough: inside a guest it may exist without support of the processor."""
    has_extension = re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo.read_text(), re.MULTILINE) is not None
    return has_extension and os.access(device, os.R_OK | os.W_OK)
