"""`edge.capabilities`, in a process of its own that has ambient capabilities as a service has them."""

import inspect
import os
import re
import shutil
import subprocess
import sys

import pytest

from appliance.edge import capabilities

NET_ADMIN, PERFMON, BPF = 1 << 12, 1 << 38, 1 << 39
PROGRAM = f"""{inspect.getsource(capabilities)}
import subprocess
keep_loading_from_children()
print(open("/proc/self/status").read(), subprocess.check_output(["/bin/cat", "/proc/self/status"], text=True))
"""
"""The module itself, and not an import of it: a service's user may not be able to read the directory of this project."""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="gives capabilities away: needs root and setpriv"
)
def test_children_of_the_service_cannot_load_programs_and_the_service_can() -> None:
    named = "-all,+net_admin,+bpf,+perfmon"
    as_service = ("setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps={named}", f"--ambient-caps={named}")
    shown = subprocess.check_output([*as_service, sys.executable, "-c", PROGRAM], text=True)
    service, child = (int(held, 16) for held in re.findall(r"^ ?CapEff:\s*(\w+)", shown, re.MULTILINE))
    assert service == NET_ADMIN | PERFMON | BPF
    assert child == NET_ADMIN
