"""Parameters of the kernel in the namespaces of a lab."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.conftest import RunningLab


@contextmanager
def kernel_setting(lab: RunningLab, roles: tuple[str, ...], name: str, value: str) -> Iterator[None]:
    """With a parameter of the kernel set in these namespaces of the lab while the block runs."""
    before = {role: lab.run(role, "sysctl", "-n", name).strip() for role in roles}
    for role in roles:
        lab.run(role, "sysctl", "-q", "-w", f"{name}={value}")
    try:
        yield
    finally:
        for role in roles:
            lab.run(role, "sysctl", "-q", "-w", f"{name}={before[role]}")
