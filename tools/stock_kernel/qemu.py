"""The machine of the guest, as the command line of qemu."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "qemu-system-x86_64"

KERNEL_PARAMETERS = (
    "console=ttyS0",
    "panic=-1",  # a panic ends the guest at once; by default it would stop for ever
    "no_timer_check",  # on a busy host an emulated timer may fail its test, and then the kernel panics
    "tsc=reliable",  # the clock may fail its test as well, and would be replaced while programs use it
    "random.trust_cpu=on",  # nothing else provides randomness here, and programs wait for it
    "mitigations=off",  # takes time at every system call, and protects nothing in an emulator
    "nokaslr",  # moving the kernel takes time at boot
    "cryptomgr.notests",  # self-tests of every cipher take time as well
    "audit=0",
    "rcupdate.rcu_expedited=1",  # removing namespaces and rules waits for one grace period after another
)
QUIET = ("quiet", "loglevel=3")
VERBOSE = ("loglevel=7",)


@dataclass(frozen=True, slots=True)
class Machine:
    """Properties of the machine that the caller chooses. `memory` is in qemu's notation: a number with M or G."""

    memory: str
    cpus: int
    kvm: bool
    verbose: bool


@dataclass(frozen=True, slots=True)
class Ports:
    """Connected sockets, as file descriptors, for stdout, stderr and the serial console of the guest."""

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
    """Hardware virtualisation, or emulation with a host thread for each emulated processor."""
    if kvm:
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


def default_cpus(*, kvm: bool) -> int:
    """The default number of processors: all of this machine with KVM, one without.

    Emulated processors run in threads that share translated code, and qemu 7.2 has races there; one processor has none.
    The guest boots as fast with one; work of several processes takes up to twice as long.
    """
    return (os.cpu_count() or 1) if kvm else 1


def kvm_usable(cpuinfo: Path = Path("/proc/cpuinfo"), device: Path = Path("/dev/kvm")) -> bool:
    """Whether KVM can work. The device alone is no proof: in a guest it may exist although the processor has no support."""
    has_extension = re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo.read_text(), re.MULTILINE) is not None
    return has_extension and os.access(device, os.R_OK | os.W_OK)
